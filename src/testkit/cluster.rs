//! What stands around several nodes of one server: a database of their own in the PostgreSQL that `HEARTH_TEST_POSTGRES` names, a
//! Redis, and HAProxy as `docker/haproxy.cfg` configures it.
//!
//! Owns the processes. They end with the value, and with the test's process however that ends: their shell waits for the end of its
//! standard input.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hearth_base::config::{Config, Secret};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_postgres::NoTls;

/// How many nodes a server of a test has where it is a cluster.
pub const NODES: usize = 3;

/// The database server, from whose address those of databases are made.
const POSTGRES: &str = "HEARTH_TEST_POSTGRES";

/// For a program to take connections.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether a program takes connections, which nothing tells.
const LOOK: Duration = Duration::from_millis(10);

/// A database and a Redis.
pub(crate) struct Cluster {
    database: String,
    redis: SocketAddr,
    _process: Process,
}

/// A HAProxy before some nodes.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    _process: Process,
}

/// A program that ends when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Its standard input ends, and so does it.
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

impl Cluster {
    /// A new one, if the tests are to run on clusters.
    pub(crate) async fn start(folder: &Path) -> io::Result<Option<Self>> {
        let Ok(server) = env::var(POSTGRES) else {
            return Ok(None);
        };
        let name = folder.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("test_{}_{name}", std::process::id());
        let connected = tokio_postgres::connect(&server, NoTls).await;
        let (client, connection) = connected.map_err(io::Error::other)?;
        let carrier = tokio::spawn(connection);
        let made = client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await;
        carrier.abort();
        made.map_err(io::Error::other)?;
        let base = server.rsplit_once('/').map_or("", |(base, _)| base);
        let redis = free().await?;
        let script = r#"redis-server --port "$1" --bind 127.0.0.1 --save "" --dir "$2" --logfile redis.log & cat >/dev/null; kill -9 $!"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "watcher", &redis.port().to_string()]);
        let process = run(command.arg(folder))?;
        wait_for(redis).await?;
        Ok(Some(Self {
            database: format!("{base}/{name}"),
            redis,
            _process: process,
        }))
    }

    /// How a node is configured: as `config` says, but for what nodes share and what each has of its own.
    pub(crate) fn node(&self, config: &Config, number: usize) -> Config {
        let mut config = config.clone();
        config.store.url = Some(Secret::new(&self.database));
        config.store.connections = 2;
        config.redis.url = Some(Secret::new(format!("redis://{}", self.redis)));
        config.listen.behind_proxy = true;
        // HAProxy has the certificate.
        config.listen.tls_certificate_file = None;
        config.listen.tls_key_file = None;
        let socket = format!("control{number}.sock");
        config.server.control_socket.set_file_name(socket);
        config
    }
}

impl Front {
    /// Stands before `nodes`; encrypts if `config` has a certificate.
    pub(crate) async fn start(
        folder: &Path,
        config: &Config,
        nodes: &[SocketAddr],
    ) -> io::Result<Self> {
        let address = free().await?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/haproxy.cfg");
        let script = r#"haproxy -db -f "$1" >"$2/haproxy.log" 2>&1 & cat >/dev/null; kill -9 $!"#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "watcher"])
            .arg(file)
            .arg(folder);
        for (number, node) in (1..).zip(nodes) {
            command.env(format!("HEARTH_NODE_{number}"), node.to_string());
        }
        let listen = &config.listen;
        match (&listen.tls_certificate_file, &listen.tls_key_file) {
            (Some(certificate), Some(key)) => {
                let both = folder.join("haproxy.pem");
                #[allow(clippy::disallowed_methods, reason = "small files of a test")]
                let text = [fs::read(certificate)?, fs::read(key)?].concat();
                fs::write(&both, text)?;
                command.env("HEARTH_HTTPS", address.to_string());
                command.env("HEARTH_CERTIFICATE", both);
            }
            _ => drop(command.env("HEARTH_HTTP", address.to_string())),
        }
        let process = run(&mut command)?;
        wait_for(address).await?;
        Ok(Self {
            address,
            _process: process,
        })
    }
}

fn run(command: &mut Command) -> io::Result<Process> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().map(Process)
}

/// A port that nobody has at this moment.
async fn free() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    listener.local_addr()
}

async fn wait_for(address: SocketAddr) -> io::Result<()> {
    let begin = Instant::now();
    while let Err(error) = TcpStream::connect(address).await {
        if begin.elapsed() > PATIENCE {
            return Err(error);
        }
        sleep(LOOK).await;
    }
    Ok(())
}
