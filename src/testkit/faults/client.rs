//! Requests to the nodes. A client that gets no answer, or one that it cannot go by, asks another node the same. Must never
//! take a refusal for a fault: whoever is refused tells why.

use std::time::Duration;

use reqwest::{Client as Http, Method};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    plan::{Dice, MACHINES},
};

/// How long a client goes on asking before it says that nobody answers.
const PATIENCE: Duration = Duration::from_secs(45);

/// The pause before another node is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the nodes are.
#[derive(Clone, Debug)]
pub(crate) struct Hosts([u16; MACHINES]);

impl Hosts {
    pub(crate) fn at(ports: [u16; MACHINES]) -> Self {
        Self(ports)
    }

    /// Address and port of a machine's node.
    pub(crate) fn address(&self, machine: usize) -> String {
        format!("127.0.0.1:{}", self.0[machine])
    }
}

fn http() -> Result<Http, Failure> {
    tokio_rustls::rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Ok(Http::builder().no_proxy().build()?)
}

/// Whether the machine's node takes requests.
pub(crate) async fn is_healthy(hosts: &Hosts, machine: usize) -> bool {
    let Ok(http) = http() else { return false };
    let url = format!("http://{}/health", hosts.address(machine));
    let asked = http.get(url).timeout(Duration::from_secs(2)).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

/// A client of the cluster.
pub(crate) struct Client {
    http: Http,
    hosts: Hosts,
    token: Option<String>,
    /// The node that is asked next.
    at: usize,
    pub(crate) dice: Dice,
}

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Value,
    /// For one node to answer.
    pub(crate) patience: Duration,
}

impl<'a> Question<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Value::Null,
            patience: Duration::from_secs(8),
        }
    }

    pub(crate) fn put(path: &'a str, body: Value) -> Self {
        Self {
            method: Method::PUT,
            body,
            patience: Duration::from_secs(4),
            ..Self::get(path)
        }
    }

    pub(crate) fn post(path: &'a str, body: Value) -> Self {
        Self {
            method: Method::POST,
            patience: Duration::from_secs(20),
            ..Self::put(path, body)
        }
    }
}

impl Client {
    pub(crate) fn of(hosts: &Hosts, dice: Dice) -> Result<Self, Failure> {
        let mut client = Self {
            http: http()?,
            hosts: hosts.clone(),
            token: None,
            at: 0,
            dice,
        };
        client.move_on();
        Ok(client)
    }

    /// Speaks for whoever has this access token from now on; gives the one before.
    pub(crate) fn speak_for(&mut self, token: String) -> String {
        self.token.replace(token).unwrap_or_default()
    }

    /// Ends the device of the access token: whoever hears that there is no such token any more has come to the same.
    pub(crate) async fn log_out(&mut self) -> Result<(), Failure> {
        self.move_on();
        match self.insist(Question::post("/logout", Value::Null)).await {
            Err(error) if !error.to_string().contains("M_UNKNOWN_TOKEN") => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the node that is asked next takes the access token.
    pub(crate) async fn is_known(&self) -> Result<bool, Failure> {
        let question = Question::get("/account/whoami");
        Ok(self.ask(&question).await?.0 == 200)
    }

    /// Asks any node next.
    pub(crate) fn move_on(&mut self) {
        self.at = self.dice.below(MACHINES);
    }

    /// Asks this node next.
    pub(crate) fn move_to(&mut self, machine: usize) {
        self.at = machine;
    }

    /// Asks one node once: status and answer.
    async fn ask(&self, question: &Question<'_>) -> Result<(u16, Value), reqwest::Error> {
        let host = self.hosts.address(self.at);
        let url = format!("http://{host}/_matrix/client/v3{}", question.path);
        let mut request = self
            .http
            .request(question.method.clone(), url)
            .timeout(question.patience);
        if question.method != Method::GET {
            request = request.json(&question.body);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    }

    /// Asks one node after the other until one answers with success.
    pub(crate) async fn insist(&mut self, question: Question<'_>) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let fault = match self.ask(&question).await {
                Ok((200, answer)) => return Ok(answer),
                // A defect is one, whatever else happens; to be unavailable is not.
                Ok((status, answer)) if status > 500 || status == 429 => {
                    format!("{status} {answer}")
                }
                Ok((status, answer)) => {
                    let (method, path) = (&question.method, question.path);
                    return Err(
                        format!("node {} to {method} {path}: {status} {answer}", self.at).into(),
                    );
                }
                Err(error) => format!("{error:?}"),
            };
            if Instant::now() > deadline {
                return Err(format!("nobody answers to {}: {fault}", question.path).into());
            }
            sleep(PAUSE).await;
            self.at = (self.at + 1 + self.dice.below(MACHINES - 1)) % MACHINES;
        }
    }
}
