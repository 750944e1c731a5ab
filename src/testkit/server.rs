//! A server in this process: one node over a folder, or where `cluster.rs` finds what that takes, three behind HAProxy. Must never leave a folder or a task behind once it is stopped.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc};

use futures_util::future::join_all;
use hearth_base::config::{Config, RegistrationMode, Secret};
use hearth_conformance::{Recorder, Specification};
use hearth_rooms::Rooms;
use hearth_server::{Outside, Running, Schema};
use hearth_users::Users;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls;

use crate::{
    Network, Recording,
    cluster::{Cluster, Front, NODES},
};

/// Why a test's server does not do what it shall.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refuses.
    #[error(transparent)]
    Server(#[from] hearth_server::Error),
    /// The request went wrong.
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    /// No certificate can be made.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    /// The name is none of a server.
    #[error(transparent)]
    Name(#[from] ruma::IdParseError),
    /// No folder can be made, or no port is free.
    #[error(transparent)]
    Folder(#[from] std::io::Error),
    /// There is nothing to ask.
    #[error("a server without nodes")]
    Empty,
    /// A program of the system is missing or does not do what it shall.
    #[error("{0}")]
    Program(String),
    /// The specification's files cannot be used.
    #[error(transparent)]
    Specification(#[from] &'static hearth_conformance::Failure),
    /// Answers were not as the specification says.
    #[error("answers are not as the specification says:{0}")]
    Unspecified(Faults),
}

/// Sentences, one a line.
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|fault| write!(to, "\n  {fault}"))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

/// A running server with registration open, no rate limit, and a folder that goes with it. Where the specification is at
/// hand, every answer is judged by it.
pub struct Server {
    nodes: Vec<Running>,
    front: Option<Front>,
    recording: Option<Recording>,
    config: Config,
    client: Client,
    network: Option<Network>,
    around: Around,
}

/// What outlives a restart. The cluster ends before its folder does.
struct Around {
    cluster: Option<Cluster>,
    folder: TempDir,
    /// What the nodes claim of the form of records.
    schemas: [Schema; NODES],
}

/// The secret of the registration endpoint for scripts.
const SHARED_SECRET: &str = "a secret of tests";

impl Server {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn start() -> Result<Self, Failure> {
        Self::start_with(|_| {}).await
    }

    /// Starts one whose configuration `change` has changed. Relative to [`Server::start`], that is.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self, Failure> {
        let (folder, mut config) = Self::settings()?;
        change(&mut config);
        let specification = Specification::shared()?;
        let recorder = specification.map(|it| Arc::new(Recorder::new(it)));
        let around = Around::of(folder).await?;
        Self::over(around, config, recorder, None).await
    }

    /// Starts a cluster whose nodes claim these schemas; nothing where the tests do not run on clusters.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn start_mixed(schemas: [Schema; NODES]) -> Result<Option<Self>, Failure> {
        let (folder, config) = Self::settings()?;
        let mut around = Around::of(folder).await?;
        around.schemas = schemas;
        match around.cluster {
            Some(_) => Ok(Some(Self::over(around, config, None, None).await?)),
            None => Ok(None),
        }
    }

    /// Starts another node of it, which nothing stands before.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn start_node(&self, schema: Schema) -> Result<Running, Failure> {
        let config = self.around.configure(&self.config, NODES);
        let outside = Outside {
            schema,
            ..Outside::default()
        };
        Ok(hearth_server::start(&config, outside).await?)
    }

    /// Stops one of its nodes, which does not come back.
    ///
    /// # Errors
    /// If the store cannot be closed.
    pub async fn leave_out(mut self, number: usize) -> Result<Self, Failure> {
        self.nodes.remove(number).stop().await?;
        Ok(self)
    }

    /// Starts one with the name `name`, which other servers of `network` find. Its answers are not judged.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn start_in(
        network: &Network,
        name: &str,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, Failure> {
        let (folder, mut config) = Self::settings()?;
        network.configure(&mut config, folder.path(), name)?;
        change(&mut config);
        let around = Around::of(folder).await?;
        Self::over(around, config, None, Some(network.clone())).await
    }

    fn settings() -> Result<(TempDir, Config), Failure> {
        let folder = TempDir::new()?;
        let mut config = Config::default();
        config.listen.addresses = vec![([127, 0, 0, 1], 0).into()];
        config.server.signing_key_file = folder.path().join("signing.key");
        config.server.control_socket = folder.path().join("control.sock");
        config.store.path = folder.path().join("store");
        config.registration.mode = RegistrationMode::Open;
        config.registration.shared_secret = Some(Secret::new(SHARED_SECRET));
        config.limits.rate_limit = false;
        Ok((folder, config))
    }

    async fn over(
        around: Around,
        config: Config,
        recorder: Option<Arc<Recorder>>,
        network: Option<Network>,
    ) -> Result<Self, Failure> {
        let mut outside = Outside::default();
        if let Some(network) = &network {
            outside.names = Arc::new(network.clone());
        }
        let (nodes, front) = around.nodes(&config, &outside).await?;
        let address = address(&nodes, front.as_ref());
        if let (Some(network), Some(address)) = (&network, address) {
            network.announce(config.server.name.as_str(), address.port());
        }
        // The client asks for one even where it only speaks HTTP; a second call finds it installed.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        #[allow(
            clippy::disallowed_methods,
            reason = "a test's client reaches the test's server only"
        )]
        let client = match &network {
            Some(network) => network.client()?,
            None => Client::builder().no_proxy().build()?,
        };
        let recording = match (recorder, address) {
            (Some(recorder), Some(address)) => Some(Recording::start(address, recorder).await?),
            _ => None,
        };
        Ok(Self {
            nodes,
            front,
            recording,
            config,
            client,
            network,
            around,
        })
    }

    /// Stops it, keeps its folder, and starts it again over it.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn restart(self) -> Result<Self, Failure> {
        self.restart_after(async |_| ()).await
    }

    /// As [`Server::restart`], with a configuration that `change` has changed.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn restart_with(mut self, change: impl FnOnce(&mut Config)) -> Result<Self, Failure> {
        change(&mut self.config);
        self.restart().await
    }

    /// As [`Server::restart`], and does something with its folder meanwhile.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn restart_after(self, meanwhile: impl AsyncFnOnce(&Path)) -> Result<Self, Failure> {
        stop_all(self.nodes).await?;
        meanwhile(self.around.folder.path()).await;
        let recorder = self.recording.as_ref().map(|it| it.recorder().clone());
        Self::over(self.around, self.config, recorder, self.network).await
    }

    /// Stops it and removes its folder.
    ///
    /// # Errors
    /// If the store cannot be closed, or if one of its answers was not as the specification says.
    pub async fn stop(self) -> Result<(), Failure> {
        stop_all(self.nodes).await?;
        let faults = self.recording.map(|it| it.recorder().faults());
        match faults {
            Some(faults) if !faults.is_empty() => Err(Failure::Unspecified(Faults(faults))),
            _ => Ok(()),
        }
    }

    /// What was seen of its answers; `None` where the specification is not at hand.
    #[must_use]
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recording.as_ref().map(|it| &**it.recorder())
    }

    /// The accounts, as one of its nodes knows them.
    ///
    /// # Errors
    /// If there is no node.
    pub fn users(&self) -> Result<&Users, Failure> {
        let node = self.nodes.first().ok_or(Failure::Empty)?;
        Ok(node.node().users())
    }

    /// The rooms, as one of its nodes knows them.
    ///
    /// # Errors
    /// If there is no node.
    pub fn rooms(&self) -> Result<&Rooms, Failure> {
        let node = self.nodes.first().ok_or(Failure::Empty)?;
        Ok(node.node().rooms())
    }

    /// Lets all nodes take up another configuration.
    ///
    /// # Errors
    /// As [`Running::reload`].
    pub async fn reload(&self, config: &Config) -> Result<(), Failure> {
        for (number, node) in self.nodes.iter().enumerate() {
            node.reload(&self.around.configure(config, number)).await?;
        }
        Ok(())
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The folder of everything that it keeps.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.around.folder.path()
    }

    /// The address of `path` there.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let recorded = self.recording.as_ref().map(Recording::address);
        let address = recorded.or_else(|| address(&self.nodes, self.front.as_ref()));
        let scheme = match self.network {
            Some(_) => "https",
            None => "http",
        };
        address.map_or_else(String::new, |address| format!("{scheme}://{address}{path}"))
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The address of `path` at a node itself, past what stands in front.
    #[must_use]
    pub fn node_url(&self, number: usize, path: &str) -> String {
        let node = self.nodes.get(number).and_then(first_address);
        node.map_or_else(String::new, |address| format!("http://{address}{path}"))
    }

    /// The client, for requests that [`Server::call`] cannot make.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends `body` as JSON, with an access token if there is one; gives the status and the answer, null if it is not JSON.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<(u16, Value), Failure> {
        let mut request = self.client.request(method.clone(), self.url(path));
        if method != Method::GET {
            request = request.json(body);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or(Value::Null)))
    }

    /// Registers `name`; gives the access token, empty if the server refuses.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn register(&self, name: &str) -> Result<String, Failure> {
        let body = json!({
            "username": name,
            "password": format!("{name}'s password"),
            "auth": { "type": "m.login.dummy" },
        });
        let path = "/_matrix/client/v3/register";
        let (_, answer) = self.call(Method::POST, path, None, &body).await?;
        Ok(answer["access_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

impl Around {
    async fn of(folder: TempDir) -> Result<Self, Failure> {
        let cluster = Cluster::start(folder.path()).await?;
        Ok(Self {
            cluster,
            folder,
            schemas: [Schema::THIS; NODES],
        })
    }

    fn configure(&self, config: &Config, number: usize) -> Config {
        match &self.cluster {
            Some(cluster) => cluster.node(config, number),
            None => config.clone(),
        }
    }

    /// Starts the nodes, and what stands before them if there are several.
    async fn nodes(
        &self,
        config: &Config,
        outside: &Outside,
    ) -> Result<(Vec<Running>, Option<Front>), Failure> {
        let count = self.cluster.as_ref().map_or(1, |_| NODES);
        let mut nodes = Vec::with_capacity(count);
        for number in 0..count {
            let config = self.configure(config, number);
            let mut outside = outside.clone();
            outside.schema = self.schemas[number];
            nodes.push(hearth_server::start(&config, outside).await?);
        }
        let front = match &self.cluster {
            Some(_) => {
                let addresses: Vec<_> = nodes.iter().filter_map(first_address).collect();
                Some(Front::start(self.folder.path(), config, &addresses).await?)
            }
            None => None,
        };
        Ok((nodes, front))
    }
}

fn first_address(node: &Running) -> Option<SocketAddr> {
    node.addresses().first().copied()
}

/// Where clients come in.
fn address(nodes: &[Running], front: Option<&Front>) -> Option<SocketAddr> {
    match front {
        Some(front) => Some(front.address),
        None => nodes.first().and_then(first_address),
    }
}

async fn stop_all(nodes: Vec<Running>) -> Result<(), Failure> {
    let stopped = join_all(nodes.into_iter().map(Running::stop)).await;
    Ok(stopped.into_iter().collect::<Result<(), _>>()?)
}
