//! A PostgreSQL of the tests' own: in a temporary folder, reached over a socket in it, gone with the test process however
//! that ends. Where no PostgreSQL is installed there is none, and the tests say so and pass.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;
use tokio_postgres::NoTls;

/// A running server.
pub(super) struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    /// Whom the server runs as, where the tests run as root, which it refuses.
    user: Option<(u32, u32)>,
    /// The server's main process.
    server: Mutex<Option<Child>>,
    /// Ends the server and removes the folder when this process is gone: it waits for the end of its standard input.
    _watcher: Child,
}

/// Numbers the databases of this process.
static DATABASES: AtomicU32 = AtomicU32::new(1);

/// The server that tests share, unless PostgreSQL is missing.
pub(super) fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(Cluster::start).as_ref()
}

impl Cluster {
    /// A new server.
    pub(super) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            say("skipped: PostgreSQL is not installed (Debian: apt-get install postgresql)");
            return None;
        };
        let user = user();
        // Short: the path of a socket has at most 107 bytes.
        let folder = TempDir::with_prefix("hearth-pg-").unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let watcher = watch(&folder, user);
        let cluster = Self {
            folder,
            programs,
            user,
            server: Mutex::new(None),
            _watcher: watcher,
        };
        let made = cluster
            .command("initdb")
            .args([
                "--username=hearth",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
            ])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        cluster.run();
        Some(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.stdin(Stdio::null()).current_dir(&self.folder);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the server in the folder, and waits until it takes connections.
    pub(super) fn run(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut server = self.server.lock().unwrap();
        loop {
            // After a kill it refuses to start while a process of the old one is still ending.
            if server
                .as_mut()
                .is_none_or(|child| child.try_wait().unwrap().is_some())
            {
                let log = fs::File::create(self.folder.join("log")).unwrap();
                let started = self
                    .command("postgres")
                    .arg("-D")
                    .arg(self.data())
                    .arg("-k")
                    .arg(&self.folder)
                    .args(["-c", "listen_addresses=", "-c", "max_connections=300"])
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn();
                *server = Some(started.unwrap());
            }
            let ready = self
                .command("pg_isready")
                .arg("--quiet")
                .arg("--host")
                .arg(&self.folder)
                .status();
            if ready.unwrap().success() {
                return;
            }
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::yield_now();
        }
    }

    /// Kills the whole server as a loss of its process would.
    pub(super) fn kill(&self) {
        let mut server = self.server.lock().unwrap();
        let mut main = server.take().unwrap();
        main.kill().unwrap();
        // Until it is waited for, it counts as running.
        main.wait().unwrap();
    }

    /// The address of a new, empty database.
    pub(super) async fn database(&self) -> String {
        let name = format!("d{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let (client, connection) = tokio_postgres::connect(&self.url("postgres"), NoTls)
            .await
            .unwrap();
        let carrier = tokio::spawn(connection);
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        carrier.abort();
        self.url(&name)
    }

    /// The address of a database.
    fn url(&self, name: &str) -> String {
        let host = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://hearth@{host}/{name}")
    }
}

/// A shell that outlives this process by as long as it takes to clean up.
fn watch(folder: &Path, user: Option<(u32, u32)>) -> Child {
    let script = r#"cat >/dev/null
        kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" 2>/dev/null
        while [ -e "$1/data/postmaster.pid" ] && kill -0 "$(head -n 1 "$1/data/postmaster.pid")" 2>/dev/null; do sleep 0.1; done
        rm -rf "$1""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "watcher"]).arg(folder);
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if let Some((uid, gid)) = user {
        shell.uid(uid).gid(gid);
    }
    shell.spawn().unwrap()
}

/// Where the programs of the newest PostgreSQL are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max();
    let packaged = newest.map(|v| PathBuf::from(format!("/usr/lib/postgresql/{v}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// User and group to run the server as; `None`: as those of the tests.
fn user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse::<u32>().ok()
    };
    (id(&["-u"]) == Some(0))
        .then(|| Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?)))
        .flatten()
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}
