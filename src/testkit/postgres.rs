//! A PostgreSQL of the system's package, in a folder of its own. Must never be run as root, nor listen beyond loopback.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use crate::{
    Failure,
    folder::{Folder, Process, free_port},
};

/// How long one may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An empty database `hearth`, to be copied.
pub struct Template {
    folder: Folder,
    programs: PathBuf,
    user: Option<(u32, u32)>,
}

/// A running one.
pub struct Database {
    port: u16,
    process: Process,
}

impl Template {
    /// Makes one, with `settings` in its `postgresql.conf`.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or refuses.
    #[allow(clippy::disallowed_methods, reason = "small files of a test")]
    pub fn make(settings: &str) -> Result<Self, Failure> {
        let missing = "PostgreSQL is not installed (Debian: apt-get install postgresql)";
        let template = Self {
            folder: Folder::make()?,
            programs: programs().ok_or_else(|| Failure::Program(missing.to_owned()))?,
            user: user()?,
        };
        template.own(template.folder.path())?;
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
        let before = fs::read_to_string(&file)?;
        fs::write(&file, before + settings)?;
        // In single-user mode there is no server to wait for.
        let mut single = template.command("postgres");
        single.args(["--single", "postgres", "-D"]).arg(&place);
        single.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = single.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(b"CREATE DATABASE hearth\n")?;
        }
        if !child.wait()?.success() {
            return Err(Failure::Program("the template has no database".to_owned()));
        }
        Ok(template)
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("template")
    }

    /// Copies it to the folder `to`, which does not exist, for a server at `port`, with `settings` that win over the template's.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn copy(&self, to: &Path, port: u16, settings: &str) -> Result<(), Failure> {
        done(Command::new("cp").arg("-a").arg(self.place()).arg(to))?;
        let file = to.join("postgresql.auto.conf");
        Ok(fs::write(file, format!("port = {port}\n{settings}"))?)
    }

    /// Gives a file to the user whom the server runs as.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn own(&self, file: &Path) -> Result<(), Failure> {
        if let Some((uid, gid)) = self.user {
            chown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// One of PostgreSQL's programs, to be run as the right user.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts a copy in `folder` and waits for it.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start(&self, folder: &Folder) -> Result<Database, Failure> {
        let (port, place) = (free_port()?, folder.path().join("postgres"));
        self.copy(&place, port, "")?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(&place);
        let process = folder.spawn(command, "postgres.log")?;
        let database = Database { port, process };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = database.ask("SELECT 1").await {
            if Instant::now() > deadline {
                return Err(Failure::Program(format!(
                    "PostgreSQL does not start: {error}"
                )));
            }
            sleep(Duration::from_millis(30)).await;
        }
        Ok(database)
    }
}

impl Database {
    /// Where a server finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://hearth@127.0.0.1:{}/hearth", self.port)
    }

    /// The process that all others of it descend from.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many bytes the database has on disk.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn bytes(&self) -> Result<u64, Failure> {
        let size = self.ask("SELECT pg_database_size('hearth')").await?;
        let size = size.and_then(|size| size.parse().ok());
        size.ok_or_else(|| Failure::Program("PostgreSQL does not know its size".to_owned()))
    }

    /// The first field of the first row.
    async fn ask(&self, sql: &str) -> Result<Option<String>, Failure> {
        let failed = |error: tokio_postgres::Error| Failure::Program(error.to_string());
        let connected = tokio_postgres::connect(&self.url(), NoTls).await;
        let (client, connection) = connected.map_err(failed)?;
        let carrier = tokio::spawn(connection);
        let told = client.simple_query(sql).await;
        carrier.abort();
        let rows = told.map_err(failed)?;
        Ok(rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            _ => None,
        }))
    }
}

/// Runs a command to its end.
fn done(command: &mut Command) -> Result<(), Failure> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Program(format!("{command:?}: {error}")))
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
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.trim().parse();
        number.map_err(|_| Failure::Program(format!("id {arguments:?} says {text:?}")))
    };
    match id(&["-u"])? {
        0 => Ok(Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))),
        _ => Ok(None),
    }
}
