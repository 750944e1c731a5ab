//! Owns the options of everything that compares Hearth with Synapse, and looking at a server with `perf`. Must never know a
//! scenario.

use std::path::{Path, PathBuf};

use clap::Args;
use tokio::process::{Child, Command};

use crate::{
    Failure,
    server::{self, Kind, Server},
    synapse::{self, Programs},
};

/// What each comparison can be told.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Small: to see whether everything works. Writes no results.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this server: hearth or synapse.
    #[arg(long, value_parser = ["hearth", "synapse"])]
    only: Option<String>,
    /// Writes no results.
    #[arg(long)]
    dry: bool,
    /// Writes what `perf` sees of Hearth while it is measured to this file.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// The folder of the built programs.
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// Python that has the package matrix-synapse.
    #[arg(long)]
    python: PathBuf,
    /// The folder of PostgreSQL's programs, if not that of the distribution.
    #[arg(long)]
    postgres: Option<PathBuf>,
}

impl Common {
    /// The servers that are to be measured.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let is_wanted = |kind: &Kind| self.only.as_ref().is_none_or(|only| only == kind.name());
        [Kind::Hearth, Kind::Synapse].into_iter().filter(is_wanted)
    }

    /// Whether the results are written.
    pub(crate) fn keeps_results(&self) -> bool {
        !self.quick && !self.dry
    }

    /// Where Synapse and PostgreSQL are.
    pub(crate) fn synapse(&self) -> Programs {
        let postgres = self.postgres.clone().or_else(synapse::find_postgres);
        Programs {
            python: self.python.clone(),
            postgres: postgres.unwrap_or_default(),
            port: 0,
        }
    }

    /// Looks at a server from now on, if that is wanted.
    pub(crate) fn observe(&self, server: &Server) -> Result<Observer, Failure> {
        let file = self.profile.as_deref();
        let perf = file.map(|file| perf(server, file)).transpose()?;
        Ok(Observer(perf))
    }
}

/// `perf`, at work, or nobody.
pub(crate) struct Observer(Option<Child>);

impl Observer {
    pub(crate) fn nobody() -> Self {
        Self(None)
    }

    /// Has it write what it saw.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        if let Some(mut perf) = self.0 {
            let id = perf.id().map(|id| id.to_string()).unwrap_or_default();
            server::run(Command::new("kill").args(["-INT", &id])).await?;
            perf.wait().await?;
        }
        Ok(())
    }
}

/// Starts `perf` on a server.
fn perf(server: &Server, file: &Path) -> Result<Child, Failure> {
    let id = server.roots().first().copied();
    let id = id.ok_or("no process to look at")?.to_string();
    let mut perf = Command::new("perf");
    perf.args([
        "record",
        "-q",
        "-F",
        "997",
        "--call-graph",
        "dwarf,16384",
        "-p",
        &id,
        "-o",
    ])
    .arg(file);
    Ok(perf.kill_on_drop(true).spawn()?)
}
