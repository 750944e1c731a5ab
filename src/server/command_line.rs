//! The command line. Owns what people read on a terminal; must never know more than what [`crate::control`] and
//! [`crate::serve`] offer.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use hearth_base::{Rng, SystemRng, config::Config, log};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    Error, Node, Outside,
    control::{self, Command},
    identity, memory,
    serve::{self, Running},
    storage, transfer,
    upgrade::{self, Schema},
};

/// The file that is read where none is named, if it is there.
const USUAL_FILE: &str = "conf/hearth.toml";
/// A password that is read from a file or a pipe.
const LONGEST_PASSWORD: u64 = 4096;

/// A Matrix homeserver.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, disable_version_flag = true)]
struct Line {
    /// The configuration file [default: $HEARTH_CONFIG, else conf/hearth.toml if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the server until it is told to stop.
    Serve {
        /// For a look on one's own computer: registration open, no rate limit, and advice what to do next.
        #[arg(long)]
        try_it: bool,
    },
    /// Says what is wrong with the configuration, and where.
    CheckConfig,
    /// Accounts; works both while the server runs and while it does not.
    #[command(subcommand)]
    User(User),
    /// Registration tokens, for `registration.mode = "token"`.
    #[command(subcommand)]
    Token(Token),
    /// Rooms; works both while the server runs and while it does not.
    #[command(subcommand)]
    Room(Room),
    /// The nodes that serve from one database.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Copies the database and the signing key to a folder; works while the server runs.
    Backup {
        /// Missing, empty, or with earlier backups, of which the last seven are kept.
        folder: PathBuf,
    },
    /// Brings the newest backup of a folder back to where the configuration says that the database is.
    Restore {
        /// What `hearth backup` made.
        folder: PathBuf,
    },
    /// Copies the whole database into an empty one, compares the two, and goes on where it was if interrupted. No server may run.
    Migrate {
        /// postgres://user:password@host:port/database, or a folder.
        #[arg(long, value_name = "PLACE")]
        to: String,
    },
    /// Upgrades of a store that is in use.
    Upgrade {
        /// Says whether this program can run on the store of the configuration now, beside the nodes that do, and changes nothing.
        #[arg(long, required = true)]
        check: bool,
    },
    /// Prints a new signing key, for nodes that get it from elsewhere than a file that they make.
    MakeSigningKey,
    /// Prints the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum User {
    /// Makes an account and prints its password if none was given.
    Create {
        /// `alice`, or `@alice:example.org`.
        name: String,
        /// Makes the account an administrator.
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: Password,
    },
    /// Prints all accounts.
    List,
    /// Makes an account an administrator, or with `--no` an ordinary one again.
    SetAdmin {
        /// Whose.
        name: String,
        /// Take it away.
        #[arg(long)]
        no: bool,
    },
    /// Sets a password, prints it if none was given, and ends the account's sessions.
    ResetPassword {
        /// Whose.
        name: String,
        #[command(flatten)]
        password: Password,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Makes a token and prints it.
    Create {
        /// How many accounts it admits [default: any number].
        #[arg(long)]
        uses: Option<u64>,
    },
    /// Prints all tokens.
    List,
    /// Ends a token.
    Delete {
        /// Which.
        token: String,
    },
}

#[derive(Debug, Subcommand)]
enum Room {
    /// Computes all states of a room again from its events, and says what is stored otherwise; then it fails.
    Replay {
        /// `!…`
        room: String,
    },
}

#[derive(Debug, Subcommand)]
enum Cluster {
    /// Prints the nodes that live: name, version, age, address, and the work that each does for all.
    Status,
}

#[derive(Debug, Args)]
struct Password {
    /// Takes the password from a file, or from the standard input if this is "-".
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    memory::allow_connections();
    let line = Line::parse();
    match perform(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("hearth: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(line: &Line) -> Result<(), Error> {
    let Verb::Serve { try_it } = line.verb else {
        return command(line);
    };
    let config = load(line, try_it)?;
    let log = log::start(&config.log).map_err(|e| Error::refused(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .map_err(|e| Error::io("no threads", e))?;
    runtime.block_on(serve(line, try_it, config, log))
}

/// How many threads serve requests: all cores but a quarter, which the store's threads and the system get. On two cores one
/// thread does more than two, which spend a third of their time on waking each other.
fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores - cores.div_ceil(4)).max(1)
}

/// The configuration that the line names; `try_it` sets what the environment leaves unset.
fn load(line: &Line, try_it: bool) -> Result<Config, Error> {
    let usual = Some(PathBuf::from(USUAL_FILE)).filter(|file| file.exists());
    let named = std::env::var_os("HEARTH_CONFIG").map(PathBuf::from);
    let file = line.config.clone().or(named).or(usual);
    let mut environment: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if try_it {
        for (name, value) in [
            ("REGISTRATION__MODE", "open"),
            ("LIMITS__RATE_LIMIT", "false"),
        ] {
            let name = format!("HEARTH__{name}");
            environment.entry(name).or_insert_with(|| value.to_owned());
        }
    }
    Ok(Config::load(file.as_deref(), environment)?)
}

async fn serve(line: &Line, try_it: bool, config: Config, log: log::Handle) -> Result<(), Error> {
    let listening = |kind| signal(kind).map_err(|e| Error::io("no signals", e));
    let (mut terminate, mut interrupt, mut hang_up) = (
        listening(SignalKind::terminate())?,
        listening(SignalKind::interrupt())?,
        listening(SignalKind::hangup())?,
    );
    let running = serve::start(&config, Outside::default()).await?;
    let version = env!("CARGO_PKG_VERSION");
    for address in running.addresses() {
        tracing::info!(%address, server_name = %config.server.name, version, "listening");
    }
    if try_it {
        say(&mut std::io::stdout(), &advice(&config, &running));
    }
    while !told_to_stop(&mut terminate, &mut interrupt, &mut hang_up).await {
        match reload(line, try_it, &running, &log).await {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        }
    }
    tracing::info!("stopping");
    running.stop().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for a signal: true to stop, false to read the configuration again.
async fn told_to_stop(
    terminate: &mut Signal,
    interrupt: &mut Signal,
    hang_up: &mut Signal,
) -> bool {
    tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        _ = hang_up.recv() => false,
    }
}

async fn reload(
    line: &Line,
    try_it: bool,
    running: &Running,
    log: &log::Handle,
) -> Result<(), Error> {
    let config = load(line, try_it)?;
    running.reload(&config).await?;
    log.reload(&config.log)
        .map_err(|e| Error::refused(e.to_string()))
}

fn advice(config: &Config, running: &Running) -> String {
    let scheme = match config.listen.tls_certificate_file {
        Some(_) => "https",
        None => "http",
    };
    let port = running
        .addresses()
        .first()
        .map_or(0, std::net::SocketAddr::port);
    format!(
        "
Hearth runs, for a look on this computer only: everybody here can make an account.

  In a Matrix client choose another homeserver and enter   {scheme}://localhost:{port}
  Then create an account there.

  The first administrator, from another terminal:          ./run.sh user create --admin NAME
  Stop:                                                    Ctrl-C
  Everything is kept in:                                   {}

To serve others, write a configuration: see docs/configuration.md.
",
        config
            .store
            .path
            .parent()
            .unwrap_or(&config.store.path)
            .display(),
    )
}

/// Every command but `serve`.
fn command(line: &Line) -> Result<(), Error> {
    if matches!(line.verb, Verb::Version) {
        say(
            &mut std::io::stdout(),
            &format!("hearth {}", env!("CARGO_PKG_VERSION")),
        );
        return Ok(());
    }
    let config = load(line, false)?;
    let text = match &line.verb {
        Verb::Upgrade { .. } => wait(check_upgrade(&config))?,
        Verb::MakeSigningKey => {
            let key = identity::new_key(&config.server.name, &SystemRng)?;
            key.to_text().trim_end().to_owned()
        }
        Verb::Serve { .. } | Verb::Version | Verb::CheckConfig => {
            "the configuration is right".to_owned()
        }
        Verb::Restore { folder } => wait(transfer::restore(&config, folder))?,
        Verb::Migrate { to } => wait(transfer::migrate(&config, to))?,
        Verb::Backup { folder } => ask(
            &config,
            &Command::Backup {
                target: absolute(folder)?,
            },
        )?,
        Verb::User(user) => ask(&config, &user.command()?)?,
        Verb::Room(Room::Replay { room }) => {
            ask(&config, &Command::ReplayRoom { room: room.clone() })?
        }
        Verb::Cluster(Cluster::Status) => ask(&config, &Command::ClusterStatus)?,
        Verb::Token(token) => ask(&config, &token.command())?,
    };
    say(&mut std::io::stdout(), &text);
    Ok(())
}

impl User {
    fn command(&self) -> Result<Command, Error> {
        Ok(match self {
            Self::Create {
                name,
                admin,
                password,
            } => Command::CreateUser {
                name: name.clone(),
                password: password.read()?,
                admin: *admin,
            },
            Self::List => Command::ListUsers,
            Self::SetAdmin { name, no } => Command::SetAdmin {
                name: name.clone(),
                admin: !no,
            },
            Self::ResetPassword { name, password } => Command::ResetPassword {
                name: name.clone(),
                password: password.read()?,
            },
        })
    }
}

impl Token {
    fn command(&self) -> Command {
        match self {
            Self::Create { uses } => Command::CreateToken { uses: *uses },
            Self::List => Command::ListTokens,
            Self::Delete { token } => Command::DeleteToken {
                token: token.clone(),
            },
        }
    }
}

impl Password {
    fn read(&self) -> Result<Option<String>, Error> {
        let Some(file) = &self.password_file else {
            return Ok(None);
        };
        let mut text = String::new();
        let read = if file == Path::new("-") {
            if std::io::stdin().is_terminal() {
                say(
                    &mut std::io::stderr(),
                    "Type the password, then Enter and Ctrl-D:",
                );
            }
            std::io::stdin()
                .take(LONGEST_PASSWORD)
                .read_to_string(&mut text)
        } else {
            std::fs::File::open(file)
                .and_then(|open| open.take(LONGEST_PASSWORD).read_to_string(&mut text))
        };
        read.map_err(|e| Error::io(format!("cannot read {}", file.display()), e))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Has a running server do it, or does it with the store itself where none runs.
fn ask(config: &Config, command: &Command) -> Result<String, Error> {
    wait(async {
        if let Some(text) = control::ask(&config.server.control_socket, command).await? {
            return Ok(text);
        }
        let node = Node::open(config, Outside::default()).await.map_err(|e| match e {
            Error::Store(e) => Error::refused(format!(
                "{e}\n(no server answers at {} either; if one runs, name its configuration with --config)",
                config.server.control_socket.display()
            )),
            other => other,
        })?;
        let done = control::perform(&node, &config.server.signing_key_file, command.clone()).await;
        node.close().await?;
        done
    })
}

/// Whether this program can run on the store now. Asks the server that runs here, if one does.
async fn check_upgrade(config: &Config) -> Result<String, Error> {
    let found = match control::ask(&config.server.control_socket, &Command::LookAtStore).await? {
        Some(text) => serde_json::from_str(&text).map_err(|e| Error::refused(e.to_string()))?,
        None => {
            let rng: Arc<dyn Rng> = Arc::new(SystemRng);
            let store = storage::peek(config, &rng).await?;
            let found = upgrade::look(&store.view().await?).await?;
            store.engine().close().await?;
            found
        }
    };
    upgrade::advice(&found, Schema::THIS)
}

/// Waits for `work`.
fn wait(work: impl Future<Output = Result<String, Error>>) -> Result<String, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::io("no threads", e))?
        .block_on(work)
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::io(format!("cannot use {}", path.display()), e))
}

/// Prints; a reader that went away does not matter.
fn say(to: &mut dyn std::io::Write, text: &str) {
    writeln!(to, "{text}").ok();
}
