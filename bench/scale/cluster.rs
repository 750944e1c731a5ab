//! Owns the processes of a cluster, and what each part of it uses. Must never configure anything that speed depends on but the
//! number of connections, and the memory of PostgreSQL, which comes with far less than anybody gives it.

use std::path::{Path, PathBuf};
use std::{net::SocketAddr, time::Duration};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use super::hold::Holders;
use crate::{
    Failure,
    measure::Sample,
    process,
    server::{self, Kind, Server, text},
    sizes::Sizes,
    synapse::find_postgres,
};

/// The name of the nodes among the parts.
pub(crate) const NODES: &str = "nodes";

/// A PostgreSQL, a Redis, and as many nodes as are wanted.
pub(crate) struct Cluster {
    /// The database, Redis and the nodes, in this order.
    server: Server,
    hearth: PathBuf,
    addresses: Vec<SocketAddr>,
    database: SocketAddr,
    redis: SocketAddr,
}

/// What a part of everything has used: CPU seconds, and resident bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) cpu: f64,
    pub(crate) bytes: f64,
}

/// What each part has used.
#[derive(Clone, Debug)]
pub(crate) struct Usage([(&'static str, Use); 4]);

impl Usage {
    /// Resident bytes of a part.
    pub(crate) fn resident(&self, part: &str) -> f64 {
        let mut parts = self.0.iter();
        parts
            .find(|(name, _)| *name == part)
            .map_or(0.0, |(_, used)| used.bytes)
    }

    /// The CPU time since `before`, the memory of now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for ((_, used), (_, before)) in since.0.iter_mut().zip(before.0) {
            used.cpu -= before.cpu;
        }
        since
    }

    /// A sample for each part.
    pub(crate) fn samples(
        &self,
        scenario: &str,
        figures: impl Fn(&str, Use) -> Sample,
    ) -> Vec<Sample> {
        let sample = |(part, used): (&str, Use)| Sample {
            scenario: scenario.to_owned(),
            server: part.to_owned(),
            rss_mb: Some(used.bytes / 1e6),
            ..figures(part, used)
        };
        self.0.into_iter().map(sample).collect()
    }
}

impl Cluster {
    /// One without nodes.
    pub(crate) async fn start(programs: &Path, postgres: Option<PathBuf>) -> Result<Self, Failure> {
        let postgres = postgres
            .or_else(find_postgres)
            .ok_or("PostgreSQL is not installed")?;
        let folder = TempDir::with_prefix("hearth-scale-")?;
        let database = server::free_address().await?;
        let mut server = Server::new(Kind::Hearth, Sizes::FULL, database, folder);
        let place = server.folder.path().join("database");
        std::fs::create_dir(&place)?;
        // The user postgres has to reach its folder, and to own it.
        server::run(Command::new("chmod").arg("711").arg(server.folder.path())).await?;
        server::run(Command::new("chown").arg("postgres").arg(&place)).await?;
        let as_postgres = |program: &str| {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]);
            command.arg(postgres.join(program)).current_dir(&place);
            command
        };
        let mut init = as_postgres("initdb");
        init.args([
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "trust",
            "-U",
            "hearth",
            "-D",
        ]);
        server::run(init.arg(&place)).await?;
        let command = [
            text(&postgres.join("postgres")),
            "-D".into(),
            text(&place),
            format!("-cport={}", database.port()),
            "-clisten_addresses=127.0.0.1".into(),
            "-cunix_socket_directories=".into(),
            "-cmax_connections=300".into(),
            "-cshared_buffers=1GB".into(),
            "-cmax_wal_size=4GB".into(),
        ];
        server.start(&command, true, "-INT")?;
        server::until_it_listens(database).await?;
        let port = database.port().to_string();
        let mut create = as_postgres("createdb");
        create.args(["-h", "127.0.0.1", "-U", "hearth", "-p", &port, "hearth"]);
        server::run(&mut create).await?;
        let redis = server::free_address().await?;
        let port = redis.port().to_string();
        let command = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
        ];
        server.start(&command.map(str::to_owned), false, "-TERM")?;
        server::until_it_listens(redis).await?;
        let cluster = Self {
            server,
            hearth: programs.join("hearth"),
            addresses: Vec::new(),
            database,
            redis,
        };
        cluster.configure(0, cluster.redis)?;
        Ok(cluster)
    }

    /// Writes the configuration of a node; gives its file.
    fn configure(&self, number: usize, address: SocketAddr) -> Result<PathBuf, Failure> {
        let file = self.folder().join(format!("node{number}.toml"));
        let (database, redis) = (self.database, self.redis);
        let configuration = format!(
            "[server]\nname = \"localhost\"\nsigning_key_file = \"signing.key\"\ncontrol_socket = \"control{number}.sock\"\n\
             [listen]\naddresses = [\"{address}\"]\n\
             [store]\nurl = \"postgres://hearth@{database}/hearth\"\n\
             [redis]\nurl = \"redis://{redis}\"\n\
             [federation]\nenabled = false\n\
             [limits]\nrate_limit = false\n"
        );
        std::fs::write(&file, configuration)?;
        Ok(file)
    }

    /// Where everything is.
    pub(crate) fn folder(&self) -> &Path {
        self.server.folder.path()
    }

    /// Starts nodes until there are so many.
    pub(crate) async fn add_nodes(&mut self, wanted: usize) -> Result<(), Failure> {
        while self.addresses.len() < wanted {
            let address = server::free_address().await?;
            let file = self.configure(self.addresses.len(), address)?;
            let command = [
                text(&self.hearth),
                "serve".into(),
                "--config".into(),
                text(&file),
            ];
            self.server.address = address;
            self.server.start(&command, false, "-TERM")?;
            self.server.until_it_answers().await?;
            self.addresses.push(address);
        }
        Ok(())
    }

    /// Ends all nodes.
    pub(crate) async fn end_nodes(&mut self) -> Result<(), Failure> {
        let nodes = std::mem::take(&mut self.addresses).len();
        self.server.end(nodes).await
    }

    /// Ends everything.
    pub(crate) async fn end(&mut self) -> Result<(), Failure> {
        self.server.end(usize::MAX).await
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.addresses.len()
    }

    /// The address of one of the nodes, by a number that may be larger.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number % self.addresses.len()]
    }

    /// Waits until there is nothing to do, and memory no longer shrinks.
    pub(crate) async fn until_it_gave_back(&self) {
        self.server.until_it_gave_back().await;
        sleep(Duration::from_secs(1)).await;
    }

    /// What each part has used so far; the load is this process and those that hold connections.
    pub(crate) fn usage(&self, holders: Option<&Holders>) -> Usage {
        let roots = self.server.roots();
        let of = |roots: &[u32]| Use {
            cpu: process::cpu_seconds(roots),
            bytes: process::resident_bytes(roots),
        };
        let load = holders.map(Holders::roots).unwrap_or_default();
        let mut own = of(&load);
        own.cpu += process::own_cpu_seconds();
        Usage([
            (NODES, of(roots.get(2..).unwrap_or_default())),
            ("postgresql", of(&roots[..1])),
            ("redis", of(&roots[1..2])),
            ("load", own),
        ])
    }
}
