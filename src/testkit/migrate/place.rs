//! The three stores, the server over each of them, and `hearth migrate` between them. Must never let two programs use a store.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hearth_base::config::Config;
use hearth_testkit::{Database, Folder, Process, Template, Trust, free_port};
use tokio::time::{Instant, sleep};

use crate::{Failure, caller::Caller};

/// For a server to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// For a whole copy.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// How far a copy is when it is killed, as it tells.
const MIDDLE: u64 = 40;

/// Between two looks at something that nothing tells.
const LOOK: Duration = Duration::from_millis(10);

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The RocksDB that is filled.
    First,
    /// PostgreSQL.
    Shared,
    /// Another RocksDB.
    Last,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "RocksDB",
            Self::Shared => "PostgreSQL",
            Self::Last => "RocksDB again",
        })
    }
}

/// Where everything is.
pub(crate) struct Site {
    /// Before the folder, whose end ends it.
    database: Database,
    pub(crate) hearth: PathBuf,
    /// Where clients find the server, whichever store it has.
    pub(crate) port: u16,
    /// Part of its name, and where other servers find it.
    named: u16,
    pub(crate) trust: Trust,
    pub(crate) folder: Folder,
}

/// A running server.
pub(crate) struct Running {
    process: Process,
    /// Asks it, over connections that were made to no other.
    pub(crate) caller: Caller,
}

impl Running {
    /// Stops it in order.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.process.signal("TERM")?;
        match self.process.ended().await? {
            status if status.success() => Ok(()),
            status => Err(format!("the server ended with {status}").into()),
        }
    }

    /// Lets it stand still.
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        Ok(self.process.signal("STOP")?)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        Ok(self.process.signal("CONT")?)
    }
}

impl Site {
    pub(crate) async fn make(template: &Template) -> Result<Self, Failure> {
        let hearth = match std::env::var_os("HEARTH_BINARY") {
            Some(path) => path.into(),
            None => std::env::current_exe()?.with_file_name("hearth"),
        };
        if !hearth.exists() {
            return Err(format!("{} is missing: build it first", hearth.display()).into());
        }
        let folder = Folder::make()?;
        let site = Self {
            database: template.start(&folder).await?,
            hearth,
            port: free_port()?,
            named: free_port()?,
            trust: Trust::make(folder.path())?,
            folder,
        };
        for kind in [Kind::First, Kind::Shared, Kind::Last] {
            fs::write(site.file(kind, "toml"), site.configuration(kind))?;
        }
        Ok(site)
    }

    /// What the server is called.
    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.named)
    }

    /// Keeps the folder, for whoever wants to know what happened.
    pub(crate) fn keep(&self) -> &Path {
        self.folder.keep();
        self.folder.path()
    }

    /// The file of a store with this ending.
    fn file(&self, kind: Kind, ending: &str) -> PathBuf {
        let name = match kind {
            Kind::First => "first",
            Kind::Shared => "shared",
            Kind::Last => "last",
        };
        self.folder.path().join(format!("{name}.{ending}"))
    }

    /// Where `hearth migrate` finds the store.
    fn place(&self, kind: Kind) -> String {
        match kind {
            Kind::Shared => self.database.url(),
            _ => self.file(kind, "store").display().to_string(),
        }
    }

    /// Alike but for the store. What is filled need not be on the disk before it is acknowledged: the copies are, whatever this says.
    fn configuration(&self, kind: Kind) -> String {
        let key = match kind {
            Kind::Shared => "url",
            _ => "path",
        };
        let (name, port, named) = (self.name(), self.port, self.named);
        let (place, path) = (self.place(kind), self.folder.path().display());
        format!(
            "[server]\nname = \"{name}\"\nsigning_key_file = \"{path}/signing.key\"\ncontrol_socket = \"{path}/control.sock\"\n\
             [listen]\naddresses = [\"127.0.0.1:{port}\"]\nhttps_addresses = [\"127.0.0.1:{named}\"]\n\
             tls_certificate_file = \"{path}/certificate.pem\"\ntls_key_file = \"{path}/key.pem\"\n\
             [federation]\nextra_ca_file = \"{path}/ca.pem\"\nprivate_addresses = true\n\
             [store]\n{key} = \"{place}\"\ndurability = \"relaxed\"\n\
             [limits]\nrate_limit = false\n"
        )
    }

    /// The same, as the crates take it.
    pub(crate) fn config(&self, kind: Kind) -> Result<Config, Failure> {
        Ok(Config::load(Some(&self.file(kind, "toml")), [])?)
    }

    fn hearth(&self, kind: Kind, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.hearth);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.file(kind, "toml"))
            .current_dir(self.folder.path());
        command
    }

    /// Starts a server over a store and waits until it answers.
    pub(crate) async fn serve(&self, kind: Kind) -> Result<Running, Failure> {
        let mut process = self
            .folder
            .spawn(self.hearth(kind, &["serve"]), "server.log")?;
        let (caller, deadline) = (Caller::to(self.port)?, Instant::now() + PATIENCE);
        while !caller.is_answered().await {
            if !process.runs() || Instant::now() > deadline {
                return Err(format!("the server over {kind} does not start").into());
            }
            sleep(LOOK).await;
        }
        Ok(Running { process, caller })
    }

    /// Copies a store, killed in the middle and begun again.
    pub(crate) async fn migrate(&self, from: Kind, to: Kind) -> Result<(), Failure> {
        let begin = Instant::now();
        let killed = self.copy_until(from, to, MIDDLE).await?;
        self.refuses(to).await?;
        let (copied, first) = self.copy_to_the_end(from, to).await?;
        if first < killed {
            return Err(format!("killed at {killed} records, it went on at {first}").into());
        }
        println!(
            "{from} -> {to}: killed at {killed} records, went on at {first}, {copied}, in {:.0?}; now {}",
            begin.elapsed(),
            self.size(to).await?
        );
        Ok(())
    }

    /// Sees that no server starts over half a copy.
    async fn refuses(&self, kind: Kind) -> Result<(), Failure> {
        let log = format!("{kind:?}-refused.log");
        let server = self.folder.spawn(self.hearth(kind, &["serve"]), &log)?;
        let ended = tokio::time::timeout(PATIENCE, server.ended()).await;
        let said = self.read(&log)?;
        match ended {
            Ok(Ok(status)) if !status.success() && said.contains("was not finished") => Ok(()),
            _ => Err(format!("a server starts over half a copy: {said}").into()),
        }
    }

    /// Kills a copy once it tells that it is at `percent`; how many records it had told of.
    async fn copy_until(&self, from: Kind, to: Kind, percent: u64) -> Result<u64, Failure> {
        let log = self.log(from, to, "killed");
        let mut process = self.begin_copy(from, to, &log)?;
        let deadline = Instant::now() + LONGEST;
        loop {
            let at = progress(&self.read(&log)?).last().copied();
            if let Some((part, records)) = at
                && part >= percent
            {
                process.signal("KILL")?;
                process.ended().await?;
                return Ok(records);
            }
            if !process.runs() || Instant::now() > deadline {
                return Err(format!("the copy ended before it was killed: {log}").into());
            }
            sleep(LOOK).await;
        }
    }

    /// What a copy says in the end, and at how many records it began.
    async fn copy_to_the_end(&self, from: Kind, to: Kind) -> Result<(String, u64), Failure> {
        let log = self.log(from, to, "again");
        let process = self.begin_copy(from, to, &log)?;
        let status = tokio::time::timeout(LONGEST, process.ended()).await??;
        let text = self.read(&log)?;
        let copied = text
            .lines()
            .find(|line| line.starts_with("copied and compared"));
        let first = progress(&text).first().map(|(_, records)| *records);
        match (status.success(), copied, first) {
            (true, Some(copied), Some(first)) => Ok((copied.to_owned(), first)),
            _ => Err(format!("the copy ended with {status}: {text}").into()),
        }
    }

    fn begin_copy(&self, from: Kind, to: Kind, log: &str) -> Result<Process, Failure> {
        let command = self.hearth(from, &["migrate", "--to", &self.place(to)]);
        Ok(self.folder.spawn(command, log)?)
    }

    fn log(&self, from: Kind, to: Kind, what: &str) -> String {
        format!("{from:?}-{to:?}-{what}.log")
    }

    #[allow(clippy::disallowed_methods, reason = "a short log")]
    fn read(&self, log: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.folder.path().join(log))?)
    }

    /// How much room a store takes.
    pub(crate) async fn size(&self, kind: Kind) -> Result<String, Failure> {
        let bytes = match kind {
            Kind::Shared => self.database.bytes().await?,
            _ => folder_bytes(&self.file(kind, "store"))?,
        };
        Ok(format!("{} MB", bytes / 1_000_000))
    }
}

/// Per cent and records of each line of a copy that tells how far it is.
fn progress(log: &str) -> Vec<(u64, u64)> {
    // `copying    [####      ]  40 % 123 of 456`
    let parsed = |line: &str| {
        let (_, rest) = line.strip_prefix("copying")?.split_once(']')?;
        let mut words = rest.split_whitespace();
        let percent = words.next()?.parse().ok()?;
        Some((percent, words.nth(1)?.parse().ok()?))
    };
    log.lines().filter_map(parsed).collect()
}

fn folder_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let about = entry?.metadata()?;
        if about.is_file() {
            bytes += about.len();
        }
    }
    Ok(bytes)
}
