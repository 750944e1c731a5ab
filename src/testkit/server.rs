//! A server in this process. Must never leave a folder or a task behind once it is stopped.

use std::{fmt, path::Path, sync::Arc};

use hearth_base::config::{Config, RegistrationMode, Secret};
use hearth_conformance::{Recorder, Specification};
use hearth_server::{Outside, Running};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls;

use crate::{Network, Recording};

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
    running: Running,
    recording: Option<Recording>,
    config: Config,
    client: Client,
    folder: TempDir,
    network: Option<Network>,
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
        Self::over(folder, config, recorder, None).await
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
        Self::over(folder, config, None, Some(network.clone())).await
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
        folder: TempDir,
        config: Config,
        recorder: Option<Arc<Recorder>>,
        network: Option<Network>,
    ) -> Result<Self, Failure> {
        let mut outside = Outside::default();
        if let Some(network) = &network {
            outside.names = Arc::new(network.clone());
        }
        let running = hearth_server::start(&config, outside).await?;
        if let (Some(network), Some(address)) = (&network, running.addresses().first()) {
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
        let recording = match (recorder, running.addresses().first()) {
            (Some(recorder), Some(address)) => Some(Recording::start(*address, recorder).await?),
            _ => None,
        };
        Ok(Self {
            running,
            recording,
            config,
            client,
            folder,
            network,
        })
    }

    /// Stops it, keeps its folder, and starts it again over it.
    ///
    /// # Errors
    /// As [`hearth_server::start`].
    pub async fn restart(self) -> Result<Self, Failure> {
        self.running.stop().await?;
        let recorder = self.recording.as_ref().map(|it| it.recorder().clone());
        Self::over(self.folder, self.config, recorder, self.network).await
    }

    /// Stops it and removes its folder.
    ///
    /// # Errors
    /// If the store cannot be closed, or if one of its answers was not as the specification says.
    pub async fn stop(self) -> Result<(), Failure> {
        self.running.stop().await?;
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

    /// The server itself.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The folder of everything that it keeps.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of `path` there.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let recorded = self.recording.as_ref().map(Recording::address);
        let address = recorded.or_else(|| self.running.addresses().first().copied());
        let scheme = match self.network {
            Some(_) => "https",
            None => "http",
        };
        address.map_or_else(String::new, |address| format!("{scheme}://{address}{path}"))
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
