//! The life of a running server: start, reload, stop. Must never end before what it acknowledged is on disk.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hearth_base::config::Config;
use hearth_store::leases::Leases;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    Error, Node, Outside, alarms, cluster, completion, control, front, healing,
    listen::{self, Manners},
    removal, telemetry,
    tls::Tls,
};

/// A server that runs. Dropping it stops nothing: call [`Running::stop`].
pub struct Running {
    node: Node,
    leases: Leases,
    router: watch::Sender<Router>,
    tls: Option<Tls>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    addresses: Vec<SocketAddr>,
    drain: Duration,
    patience: Duration,
}

/// Starts a server as `config` says. Answers from the moment this returns.
///
/// # Errors
/// As [`Node::open`], and if an address, a certificate or the control socket cannot be used.
pub async fn start(config: &Config, outside: Outside) -> Result<Running, Error> {
    telemetry::start()?;
    let listen = config.listen.clone();
    let tls = blocking(move || Tls::load(&listen)).await?;
    let plain_encrypts = config.listen.https_addresses.is_empty();
    let mut listeners = Vec::new();
    for address in &config.listen.addresses {
        listeners.push((listen::bind(*address).await?, plain_encrypts));
    }
    for address in &config.listen.https_addresses {
        listeners.push((listen::bind(*address).await?, true));
    }
    let metrics = match config.metrics.address {
        Some(address) => Some(listen::bind(address).await?),
        None => None,
    };
    let node = Node::open(config, outside).await?;
    let addresses = addresses(&listeners)?;
    let leases = node.join(&addresses).await?;
    let (stop, stopping) = watch::channel(false);
    let (router, current) = watch::channel(node.router(config));
    let manners = Manners {
        slots: Arc::new(Semaphore::new(
            config.listen.max_connections.min(Semaphore::MAX_PERMITS),
        )),
        header_timeout: Duration::from_secs(config.listen.header_timeout_seconds),
        behind_proxy: config.listen.behind_proxy,
        tls: tls.clone(),
    };
    let mut tasks = JoinSet::new();
    let key_file: Arc<Path> = config.server.signing_key_file.as_path().into();
    let socket = &config.server.control_socket;
    tasks.spawn(node.health().clone().watch(stopping.clone()));
    tasks.spawn(control::serve(socket, node.clone(), key_file, stopping.clone()).await?);
    for (listener, may_encrypt) in listeners {
        let manners = Manners {
            tls: manners.tls.clone().filter(|_| may_encrypt),
            ..manners.clone()
        };
        tasks.spawn(listen::serve(
            listener,
            current.clone(),
            manners,
            stopping.clone(),
        ));
    }
    if let Some(listener) = metrics {
        let (_, only) = watch::channel(front::metrics_only());
        let manners = Manners {
            tls: None,
            ..manners
        };
        tasks.spawn(listen::serve(listener, only, manners, stopping.clone()));
    }
    work(&mut tasks, config, &node, &leases, stopping);
    Ok(Running {
        node,
        leases,
        router,
        tls,
        stop,
        tasks,
        addresses,
        drain: Duration::from_secs(config.listen.drain_seconds),
        patience: Duration::from_secs(config.listen.shutdown_timeout_seconds),
    })
}

/// Where they listen.
fn addresses(listeners: &[(TcpListener, bool)]) -> Result<Vec<SocketAddr>, Error> {
    let addresses = listeners.iter().map(|(listener, _)| listener.local_addr());
    addresses
        .collect::<Result<_, _>>()
        .map_err(|e| Error::io("no address", e))
}

/// Starts what one node does for all, wherever `leases` say that it is this one.
fn work(
    tasks: &mut JoinSet<()>,
    config: &Config,
    node: &Node,
    leases: &Leases,
    stopping: watch::Receiver<bool>,
) {
    let kept_for = Duration::from_secs(24 * 3600 * u64::from(config.rooms.keep_forgotten_days));
    let (rooms, kept) = (node.rooms().clone(), leases.keep(removal::LEASE));
    tasks.spawn(removal::serve(rooms, kept_for, kept, stopping.clone()));
    let (rooms, kept) = (node.rooms().clone(), leases.keep(cluster::INBOUND));
    tasks.spawn(cluster::take_up(rooms, kept, stopping.clone()));
    if config.federation.enabled {
        let (rooms, kept) = (node.rooms().clone(), leases.keep(healing::LEASE));
        tasks.spawn(healing::serve(rooms, kept, stopping.clone()));
        let (rooms, kept) = (node.rooms().clone(), leases.keep(completion::LEASE));
        tasks.spawn(completion::serve(rooms, kept, stopping.clone()));
    }
    let (app, kept) = (node.app(config), leases.keep(alarms::LEASE));
    tasks.spawn(alarms::serve(app, kept, stopping.clone()));
    tasks.spawn(node.clone().run(leases.clone(), stopping));
}

impl Running {
    /// Where it listens; a port 0 of the configuration is the port that was given.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The server without its sockets.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Takes up what can change without a restart: registration, limits, the announced address, the certificate's files.
    ///
    /// # Errors
    /// If the certificate cannot be read; then nothing changes.
    pub async fn reload(&self, config: &Config) -> Result<(), Error> {
        if let Some(tls) = self.tls.clone() {
            blocking(move || tls.reload()).await?;
        }
        drop(self.router.send_replace(self.node.router(config)));
        Ok(())
    }

    /// Lets balancers know and serves on for as long as they need to. Then accepts nothing more, lets answers under way finish (those that wait for news end at once), and closes the store.
    ///
    /// # Errors
    /// If the store cannot be closed cleanly.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.node.health().leave();
        sleep(self.drain).await;
        self.stop.send_replace(true);
        self.node.end_waits();
        let drained = timeout(self.patience, async {
            // First, so that others go on with this node's work while its clients are served to the end.
            self.leases.leave().await;
            while self.tasks.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!("some answers were still under way and are cut off");
            self.tasks.shutdown().await;
        }
        self.node.close().await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work)
        .await
        .map_err(|e| Error::refused(e.to_string()))?
}
