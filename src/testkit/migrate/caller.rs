//! Requests to a server of this machine. Must never repeat one: a second answer may be another.

use reqwest::{Client, Method, header};
use serde_json::Value;
use tokio_rustls::rustls::crypto::ring;

use crate::Failure;

/// Asks the server at a port.
#[derive(Clone)]
pub(crate) struct Caller {
    http: Client,
    port: u16,
}

impl Caller {
    pub(crate) fn to(port: u16) -> Result<Self, Failure> {
        // The client asks for one even where it only speaks HTTP; a second call finds it installed.
        ring::default_provider().install_default().ok();
        #[allow(
            clippy::disallowed_methods,
            reason = "reaches a server of the test only"
        )]
        let http = Client::builder().no_proxy().build()?;
        Ok(Self { http, port })
    }

    /// Status and body, whatever they are. `credentials` are the whole `Authorization`, if any.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        credentials: &str,
        body: &Value,
    ) -> Result<(u16, String), Failure> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let mut request = self.http.request(method, url);
        if !credentials.is_empty() {
            request = request.header(header::AUTHORIZATION, credentials);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Whether the server takes requests.
    pub(crate) async fn is_answered(&self) -> bool {
        let asked = self.ask(Method::GET, "/health", "", &Value::Null).await;
        asked.is_ok_and(|(status, _)| status == 200)
    }

    /// What is answered with success to whoever has the access token, if there is one.
    async fn good(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let credentials = match token {
            "" => String::new(),
            token => format!("Bearer {token}"),
        };
        let asked = self.ask(method.clone(), path, &credentials, body).await?;
        match asked {
            (200, answer) => Ok(serde_json::from_str(&answer)?),
            (status, answer) => Err(format!("{method} {path}: {status} {answer}").into()),
        }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Result<Value, Failure> {
        self.good(Method::GET, path, token, &Value::Null).await
    }

    pub(crate) async fn put(
        &self,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        self.good(Method::PUT, path, token, body).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        self.good(Method::POST, path, token, body).await
    }
}

/// A text of an answer that has to be there.
pub(crate) fn text(answer: &Value, key: &str) -> Result<String, Failure> {
    let text = answer[key].as_str().map(ToOwned::to_owned);
    text.ok_or_else(|| format!("no {key} in {answer}").into())
}
