//! Owns a server under measurement: its processes, its folder and the accounts in it. Must never end a process that it
//! did not start.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{Failure, http::Client, matrix::User, process, sizes::Sizes};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hearth,
    Synapse,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hearth => "hearth",
            Self::Synapse => "synapse",
        }
    }
}

/// A process that was started here, and the signal that ends it in order.
pub(crate) struct Part {
    child: Child,
    signal: &'static str,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) sizes: Sizes,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    /// In the order in which they were started.
    pub(crate) parts: Vec<Part>,
    pub(crate) crowd: Crowd,
    /// What the scenarios have made so far, by what it is for.
    pub(crate) rooms: std::collections::HashMap<String, Vec<String>>,
    transactions: u64,
    /// Rounds of the scenario of those who wait.
    pub(crate) rounds: u64,
}

/// Accounts that are there before the first scenario, by what they do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    /// Talk in small rooms.
    pub(crate) talk: Vec<User>,
    /// Are in many big rooms.
    pub(crate) member: Vec<User>,
    /// Wait for a message that goes to all of them.
    pub(crate) fan: Vec<User>,
    /// Wait, each in a room with a host.
    pub(crate) idle: Vec<User>,
    /// Are in a room with each of some of those who wait.
    pub(crate) host: Vec<User>,
}

impl Crowd {
    /// The accounts as `sizes` says, with the tokens that `token` gives for their names.
    pub(crate) fn new(
        sizes: &Sizes,
        mut token: impl FnMut(&str) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let mut group = |name: &str, size: usize| -> Result<Vec<User>, Failure> {
            let names = (0..size).map(|number| format!("{name}{number}"));
            let users = names.map(|name| {
                Ok(User {
                    token: token(&name)?,
                    name,
                })
            });
            users.collect()
        };
        Ok(Self {
            talk: group("talk", sizes.talkers)?,
            member: group("member", sizes.members)?,
            fan: group("fan", sizes.fans)?,
            idle: group("idle", sizes.idlers)?,
            host: group("host", sizes.hosts)?,
        })
    }
}

impl Server {
    pub(crate) fn new(kind: Kind, sizes: Sizes, address: SocketAddr, folder: TempDir) -> Self {
        Self {
            kind,
            sizes,
            address,
            folder,
            parts: Vec::new(),
            crowd: Crowd::default(),
            rooms: std::collections::HashMap::new(),
            transactions: 0,
            rounds: 0,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// One of two numbers: what takes Hearth a moment takes Synapse long.
    pub(crate) fn size(&self, hearth: usize, synapse: usize) -> usize {
        let full = match self.kind {
            Kind::Hearth => hearth,
            Kind::Synapse => synapse,
        };
        if self.sizes.is_quick {
            (full / 4).max(2)
        } else {
            full
        }
    }

    /// A caller with a connection of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A number that was not given before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.transactions += 1;
        self.transactions
    }

    /// The processes that were started here; their children belong to them.
    pub(crate) fn roots(&self) -> Vec<u32> {
        self.parts
            .iter()
            .filter_map(|part| part.child.id())
            .collect()
    }

    /// Starts a process that ends with this one.
    pub(crate) fn start(
        &mut self,
        command: &[String],
        as_postgres: bool,
        signal: &'static str,
    ) -> Result<(), Failure> {
        let log = |kind: &str| {
            let path = self
                .folder
                .path()
                .join(format!("{}.{kind}", self.parts.len()));
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)
        };
        let mut start = Command::new("setpriv");
        start.arg("--pdeathsig=TERM");
        if as_postgres {
            start.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        let child = start
            .arg("--")
            .args(command)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log("out")?)
            .stderr(log("err")?)
            // A Ctrl-C is for the bench alone, which then ends its servers in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.parts.push(Part { child, signal });
        Ok(())
    }

    /// Waits until the newest process answers.
    pub(crate) async fn until_it_answers(&mut self) -> Result<(), Failure> {
        let nobody = User {
            name: String::new(),
            token: String::new(),
        };
        let wait = async {
            loop {
                let mut client = self.client();
                if client
                    .get(&nobody, "/_matrix/client/versions")
                    .await
                    .is_ok()
                {
                    return Ok(());
                }
                if let Some(status) = self.parts.last_mut().and_then(|p| p.child.try_wait().ok()?) {
                    return Err(format!("{} ended: {status}", self.kind.name()).into());
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .map_err(|_| "the server does not answer")?
    }

    /// Waits until the server has nothing to do, for ten seconds at most.
    pub(crate) async fn until_it_rests(&self) {
        let pause = Duration::from_millis(300);
        let mut before = process::cpu_seconds(&self.roots());
        for _ in 0..33 {
            sleep(pause).await;
            let now = process::cpu_seconds(&self.roots());
            if now - before < 0.1 * pause.as_secs_f64() {
                return;
            }
            before = now;
        }
    }

    /// Waits until the server's memory no longer shrinks: an allocator gives back in its own time. For 30 seconds at most.
    pub(crate) async fn until_it_gave_back(&self) {
        self.until_it_rests().await;
        let mut before = process::resident_bytes(&self.roots());
        for _ in 0..6 {
            sleep(Duration::from_secs(5)).await;
            let now = process::resident_bytes(&self.roots());
            if now > 0.99 * before {
                return;
            }
            before = now;
        }
    }

    /// The last that Synapse wrote to its log, or Hearth to its output.
    pub(crate) fn end_of_log(&self) -> String {
        let name = match self.kind {
            Kind::Hearth => "0.out",
            Kind::Synapse => "log",
        };
        let log = std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        let end = &log[log.len().saturating_sub(3000)..];
        String::from_utf8_lossy(end).into_owned()
    }

    /// Ends the newest `parts` processes, the last started first.
    pub(crate) async fn end(&mut self, parts: usize) -> Result<(), Failure> {
        for _ in 0..parts {
            let Some(mut part) = self.parts.pop() else {
                break;
            };
            if let Some(id) = part.child.id() {
                let mut kill = Command::new("kill");
                kill.args([part.signal, &id.to_string()]).status().await?;
            }
            if timeout(PATIENCE, part.child.wait()).await.is_err() {
                part.child.kill().await?;
            }
        }
        Ok(())
    }
}

/// A loopback address that nobody uses.
pub(crate) async fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

/// Waits until somebody listens at `address`.
pub(crate) async fn until_it_listens(address: SocketAddr) -> Result<(), Failure> {
    let wait = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .map_err(|_| format!("nobody listens at {address}").into())
}

/// Runs a command to its end; gives what it wrote.
pub(crate) async fn run(command: &mut Command) -> Result<String, Failure> {
    let output = timeout(
        Duration::from_secs(900),
        command.kill_on_drop(true).output(),
    )
    .await??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?}: {error}", command.as_std()).into())
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
