//! PostgreSQL for one seed: a primary, and a synchronous replica that can take its place. Every seed begins with a copy of
//! one template. Must never fail over while the replica lacks anything that was seen.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tokio_postgres::NoTls;

use crate::{
    Failure,
    folder::{Folder, Process, free_port},
};

/// How long the database may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What both servers are told. A loss of power is not among the faults, and everything else the system's memory survives.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 120
shared_buffers = 32MB
fsync = off
wal_level = replica
hot_standby = on
wal_retrieve_retry_interval = 200ms
wal_receiver_status_interval = 1s
log_min_messages = warning
";

/// An empty database, to be copied.
pub(crate) struct Template {
    folder: Folder,
    programs: PathBuf,
    user: Option<(u32, u32)>,
}

impl Template {
    /// Makes one.
    pub(crate) fn make() -> Result<Self, Failure> {
        let programs =
            programs().ok_or("PostgreSQL is not installed (Debian: apt-get install postgresql)")?;
        let template = Self {
            folder: Folder::make()?,
            programs,
            user: user()?,
        };
        if let Some((uid, gid)) = template.user {
            std::os::unix::fs::chown(template.folder.path(), Some(uid), Some(gid))?;
        }
        let place = template.place();
        let mut initdb = template.command("initdb");
        initdb.args([
            "--username=hearth",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
        ]);
        done(initdb.arg("-D").arg(&place))?;
        let file = place.join("postgresql.conf");
        let settings = fs::read_to_string(&file)?;
        fs::write(&file, settings + SETTINGS)?;
        // In single-user mode there is no server to wait for.
        let mut single = template.command("postgres");
        single.args(["--single", "postgres", "-D"]).arg(&place);
        single
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null());
        let mut child = single.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            std::io::Write::write_all(&mut input, b"CREATE DATABASE hearth\n")?;
        }
        if !child.wait()?.success() {
            return Err("the template has no database".into());
        }
        Ok(template)
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("template")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Runs a command to its end.
fn done(command: &mut Command) -> Result<(), Failure> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// One server.
struct Server {
    place: PathBuf,
    port: u16,
    process: Option<Process>,
}

/// The two servers.
pub(crate) struct Database {
    programs: PathBuf,
    user: Option<(u32, u32)>,
    log: &'static str,
    /// The one that takes writes, and the replica while there is one.
    servers: Mutex<(Server, Option<Server>)>,
    ports: (u16, u16),
}

impl Database {
    /// Starts both, in `folder`.
    pub(crate) async fn start(template: &Template, folder: &Folder) -> Result<Self, Failure> {
        let (first, second) = (free_port()?, free_port()?);
        let server = |name: &str, port, more: &str| -> Result<Server, Failure> {
            let place = folder.path().join(name);
            done(
                Command::new("cp")
                    .arg("-a")
                    .arg(template.place())
                    .arg(&place),
            )?;
            let file = place.join("postgresql.auto.conf");
            fs::write(file, format!("port = {port}\n{more}"))?;
            let process = None;
            Ok(Server {
                place,
                port,
                process,
            })
        };
        let primary = server("primary", first, "synchronous_standby_names = '*'\n")?;
        let follows = format!("primary_conninfo = 'host=127.0.0.1 port={first} user=hearth'\n");
        let replica = server("replica", second, &follows)?;
        let signal = replica.place.join("standby.signal");
        fs::write(&signal, "")?;
        if let Some((uid, gid)) = template.user {
            std::os::unix::fs::chown(&signal, Some(uid), Some(gid))?;
        }
        let database = Self {
            programs: template.programs.clone(),
            user: template.user,
            log: "postgres.log",
            servers: Mutex::new((primary, Some(replica))),
            ports: (first, second),
        };
        let mut servers = database.servers.lock().await;
        let (primary, replica) = &mut *servers;
        database.run(primary, folder)?;
        if let Some(replica) = replica {
            database.run(replica, folder)?;
        }
        settle(first).await?;
        drop(servers);
        Ok(database)
    }

    /// Where nodes find it: both servers, of which one takes writes.
    pub(crate) fn url(&self) -> String {
        let (first, second) = self.ports;
        format!("postgres://hearth@127.0.0.1:{first},127.0.0.1:{second}/hearth")
    }

    fn run(&self, server: &mut Server, folder: &Folder) -> Result<(), Failure> {
        let mut command = Command::new(self.programs.join("postgres"));
        command.arg("-D").arg(&server.place).current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        server.process = Some(folder.spawn(command, self.log)?);
        Ok(())
    }

    /// Ends the primary by `signal` and starts it again after a while.
    pub(crate) async fn restart(
        &self,
        folder: &Folder,
        signal: &str,
        after: Duration,
    ) -> Result<(), Failure> {
        let mut servers = self.servers.lock().await;
        let (primary, _) = &mut *servers;
        end(primary, signal).await?;
        sleep(after).await;
        self.run(primary, folder)?;
        settle(primary.port).await
    }

    /// Ends the primary for good and has the replica take its place.
    pub(crate) async fn fail_over(&self, after: Duration) -> Result<(), Failure> {
        let mut servers = self.servers.lock().await;
        let (primary, replica) = &mut *servers;
        let Some(next) = replica.take() else {
            return Ok(());
        };
        // What a crash left behind in the primary alone is seen by readers there: the replica has to have it.
        settle(primary.port).await?;
        end(primary, "QUIT").await?;
        sleep(after).await;
        *primary = next;
        let mut promote = Command::new(self.programs.join("pg_ctl"));
        promote
            .args(["promote", "--no-wait", "-D"])
            .arg(&primary.place)
            .current_dir("/");
        if let Some((uid, gid)) = self.user {
            promote.uid(uid).gid(gid);
        }
        done(&mut promote)?;
        settle(primary.port).await
    }
}

async fn end(server: &mut Server, signal: &str) -> Result<(), Failure> {
    let Some(process) = server.process.take() else {
        return Ok(());
    };
    process.signal(signal)?;
    process.ended().await
}

/// Waits until the server at `port` takes a write, and with it has everything where it has to be.
async fn settle(port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match write(port).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("the database does not come up: {error}").into());
            }
            Err(_) => sleep(Duration::from_millis(30)).await,
        }
    }
}

async fn write(port: u16) -> Result<(), Failure> {
    let url = format!("postgres://hearth@127.0.0.1:{port}/hearth");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let carrier = tokio::spawn(connection);
    let sql = "CREATE TABLE IF NOT EXISTS settled (at INT4); INSERT INTO settled VALUES (1)";
    let done = tokio::time::timeout(PATIENCE, client.batch_execute(sql)).await;
    carrier.abort();
    Ok(done??)
}

/// Where the programs of the newest PostgreSQL are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max();
    let packaged = newest.map(|v| Path::new("/usr/lib/postgresql").join(format!("{v}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// User and group to run the server as; `None`: as this process, if that is not root, whom it refuses.
fn user() -> Result<Option<(u32, u32)>, Failure> {
    let id = |arguments: &[&str]| -> Result<u32, Failure> {
        let output = Command::new("id").args(arguments).output()?;
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    };
    match id(&["-u"])? {
        0 => Ok(Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))),
        _ => Ok(None),
    }
}
