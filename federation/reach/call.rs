//! Owns the calls to other servers: find them, sign, send, read what they answer within limits. Must never retry: whoever
//! calls knows whether that makes sense.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#api-standards>

use std::{collections::BTreeMap, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use reqwest::Response;
use ruma::{
    ServerName,
    api::{IncomingResponseExt as _, OutgoingBody, OutgoingRequest, path_builder::SinglePath},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Peers, destinations::Urgency, discovery::Destination, signing::Signed};

/// The longest answer, unless the call says otherwise.
const MAX_ANSWER: usize = 16 << 20;

/// How long a call takes at most, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is found to be away within this time is tried once more.
const SOON: Duration = Duration::from_secs(2);

/// How long is waited before that.
const BREATH: Duration = Duration::from_millis(200);

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether somebody waits for it.
    pub urgency: Urgency,
    /// How long the whole of it may take.
    pub patience: Duration,
    /// How long the answer may be, in bytes.
    pub max_answer: usize,
}

impl Manner {
    /// Somebody waits: asked even of a server that did not answer lately.
    pub const WAITED_FOR: Self = Self {
        urgency: Urgency::WaitedFor,
        patience: PATIENCE,
        max_answer: MAX_ANSWER,
    };

    /// Nobody waits: not asked of a server that did not answer lately.
    pub const BACKGROUND: Self = Self {
        urgency: Urgency::Background,
        ..Self::WAITED_FOR
    };
}

/// Why a call gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The operator does not allow it, or it failed so often that it is not tried now.
    #[error("{0}")]
    NotTried(String),
    /// The server cannot be found, does not show its certificate, or does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The server says no.
    #[error("the server answered {status} {errcode}: {message}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its errcode, empty if it gave none.
        errcode: String,
        /// For people.
        message: String,
        /// The whole body, as far as it is JSON.
        body: serde_json::Value,
    },
    /// The answer cannot be understood, or is too long.
    #[error("the server's answer is wrong: {0}")]
    WrongAnswer(String),
}

impl Peers {
    /// Calls an endpoint of another server.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call<R>(
        &self,
        server: &ServerName,
        request: R,
        manner: Manner,
    ) -> Result<R::IncomingResponse, CallError>
    where
        R: OutgoingRequest<PathBuilder = SinglePath>,
    {
        let wrong = |e: &dyn std::fmt::Display| CallError::NotTried(e.to_string());
        // The host is filled in once it is known.
        let request = request
            .try_into_http_request_inner("https://host", ())
            .map_err(|e| wrong(&e))?;
        let (parts, body) = request.into_parts();
        let body: Vec<u8> = body.try_into_buf().map_err(|e| {
            let e: ruma::api::error::IntoHttpError = e.into();
            wrong(&e)
        })?;
        let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let (status, body) = self
            .exchange(server, parts.method.as_str(), uri, body, manner)
            .await?;
        let response = http::Response::builder().status(status).body(&*body);
        let response = response.map_err(|e| CallError::WrongAnswer(e.to_string()))?;
        let wrong = match R::IncomingResponse::try_from_http_response(response) {
            Ok(answer) => return Ok(answer),
            Err(error) => CallError::WrongAnswer(error.to_string()),
        };
        let Some(body) = without_nulls(&body) else {
            return Err(wrong);
        };
        let response = http::Response::builder().status(status).body(&*body);
        let response = response.map_err(|e| CallError::WrongAnswer(e.to_string()))?;
        R::IncomingResponse::try_from_http_response(response).map_err(|_| wrong)
    }

    /// Sends a signed request; gives status and body of a good answer.
    async fn exchange(
        &self,
        server: &ServerName,
        method: &str,
        uri: &str,
        body: Vec<u8>,
        manner: Manner,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let own = &self.0.settings.server_name;
        if server == own {
            return Err(CallError::NotTried("that is this server".to_owned()));
        }
        if self.0.settings.deny.denies(server) {
            return Err(CallError::NotTried(format!(
                "the operator of this server does not allow {server}"
            )));
        }
        self.0.destinations.admit(server, manner.urgency).await?;
        let signed = Signed {
            method,
            uri,
            origin: own,
            destination: server,
            content: (!body.is_empty()).then_some(&body),
        };
        let authorization = signed
            .header(&self.0.key)
            .map_err(|e| CallError::NotTried(e.to_string()))?;
        let asked = self.ask(server, method, uri, &authorization, body, manner.max_answer);
        let outcome = match tokio::time::timeout(manner.patience, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Unreachable(format!("{server} takes too long"))),
        };
        // Whatever a server says, it is there.
        let is_there = !matches!(outcome, Err(CallError::Unreachable(_)));
        self.0.destinations.note(server, is_there).await;
        let (status, body) = outcome?;
        if status.is_success() {
            return Ok((status, body));
        }
        Err(refused(status, &body))
    }

    /// Tries the places where the server may be, one after the other.
    async fn ask(
        &self,
        server: &ServerName,
        method: &str,
        uri: &str,
        authorization: &str,
        body: Vec<u8>,
        max_answer: usize,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let body = Bytes::from(body);
        let mut failure = CallError::Unreachable(format!("{server} is nowhere"));
        let begun = Instant::now();
        for _ in 0..2 {
            for place in self.0.discovery.find(&self.0.web, server).await {
                match self.ask_at(&place, method, uri, authorization, &body).await {
                    Ok(response) => {
                        let status = response.status();
                        let body = collect(response, max_answer).await?;
                        return Ok((status, body));
                    }
                    Err(Failure { reason, nobody }) => {
                        tracing::debug!(%server, host = place.host, port = place.port, reason, "not reached");
                        failure = CallError::Unreachable(format!("{server}: {reason}"));
                        if !nobody {
                            return Err(failure);
                        }
                        self.0
                            .web
                            .forget(place.target.as_deref().unwrap_or(&place.host));
                    }
                }
            }
            // It may have moved: once more with fresh names, unless that it is away took long to find out.
            if begun.elapsed() > SOON {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
        Err(failure)
    }

    async fn ask_at(
        &self,
        place: &Destination,
        method: &str,
        uri: &str,
        authorization: &str,
        body: &Bytes,
    ) -> Result<Response, Failure> {
        let never = |reason: String| Failure {
            reason,
            nobody: true,
        };
        if !self.0.web.allows_host(&place.host) {
            return Err(never("the address is in a private network".to_owned()));
        }
        let method: http::Method = method.parse().map_err(|e| never(format!("{e}")))?;
        let client = self.0.web.client(&place.host, place.target.as_deref());
        let url = format!("https://{}:{}{uri}", place.host, place.port);
        let mut request = client
            .request(method, url)
            .header(header::HOST, &place.header)
            .header(header::AUTHORIZATION, authorization);
        if !body.is_empty() {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        request.send().await.map_err(|e| Failure {
            reason: reason(&e),
            nobody: e.is_connect(),
        })
    }
}

/// Why a place gave no answer.
struct Failure {
    reason: String,
    /// Whether there was no connection at all, so that another place may be tried.
    nobody: bool,
}

/// What went wrong, the causes included.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The body of an answer, if it is no longer than `limit` bytes.
///
/// # Errors
/// `WrongAnswer` if it is longer, `Unreachable` if it breaks off.
pub(crate) async fn collect(mut response: Response, limit: usize) -> Result<Bytes, CallError> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(CallError::WrongAnswer("it is too long".to_owned())),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(CallError::Unreachable(reason(&error))),
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    #[derive(Deserialize)]
    struct Standard {
        #[serde(default)]
        errcode: String,
        #[serde(default)]
        error: String,
    }
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let standard = Standard::deserialize(&body).ok();
    let (errcode, message) = standard.map_or_else(Default::default, |s| (s.errcode, s.error));
    CallError::Refused {
        status: status.as_u16(),
        errcode,
        message,
        body,
    }
}

/// An answer without those of its fields that are null: some servers say that of a list that is empty. Nothing if it has none.
fn without_nulls(body: &[u8]) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    let before = fields.len();
    fields.retain(|_, value| value.get() != "null");
    match fields.len() == before {
        true => None,
        false => serde_json::to_vec(&fields).ok(),
    }
}
