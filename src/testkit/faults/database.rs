//! PostgreSQL for one seed: a primary, and a synchronous replica that can take its place. Every seed begins with a copy of
//! one template. Must never fail over while the replica lacks anything that was seen.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use hearth_testkit::{Folder, Process, Template, free_port};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tokio_postgres::NoTls;

use crate::Failure;

/// How long the database may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What both servers are told. A loss of power is not among the faults, and everything else the system's memory survives.
pub(crate) const SETTINGS: &str = "
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

/// One server.
struct Server {
    place: PathBuf,
    port: u16,
    process: Option<Process>,
}

/// The two servers.
pub(crate) struct Database {
    template: Arc<Template>,
    /// The one that takes writes, and the replica while there is one.
    servers: Mutex<(Server, Option<Server>)>,
    ports: (u16, u16),
}

impl Database {
    /// Starts both, in `folder`.
    pub(crate) async fn start(template: &Arc<Template>, folder: &Folder) -> Result<Self, Failure> {
        let (first, second) = (free_port()?, free_port()?);
        let server = |name: &str, port, more: &str| -> Result<Server, Failure> {
            let place = folder.path().join(name);
            template.copy(&place, port, more)?;
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
        template.own(&signal)?;
        let database = Self {
            template: template.clone(),
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
        let mut command = self.template.command("postgres");
        command.arg("-D").arg(&server.place);
        server.process = Some(folder.spawn(command, "postgres.log")?);
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
        let mut promote = self.template.command("pg_ctl");
        promote.args(["promote", "--no-wait", "-D"]);
        let told = promote.arg(&primary.place).output()?;
        if !told.status.success() {
            return Err(String::from_utf8_lossy(&told.stderr).into());
        }
        settle(primary.port).await
    }
}

async fn end(server: &mut Server, signal: &str) -> Result<(), Failure> {
    let Some(process) = server.process.take() else {
        return Ok(());
    };
    process.signal(signal)?;
    process.ended().await?;
    Ok(())
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
