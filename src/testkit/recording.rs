//! A proxy before a server, which shows every answer to a judge.
//!
//! Owns the copying of requests and answers. Must never change what the other side sees, except that it asks for answers
//! without compression; nor reach further than the server that it was given.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use hearth_conformance::{Exchange, Recorder};
use http::{StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use reqwest::{Client, redirect::Policy};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::rustls;

/// The longest body that goes through, in bytes.
const LONGEST_BODY: usize = 256 * 1024 * 1024;

/// A proxy that runs until it is dropped.
pub struct Recording {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Proxy {
    server: SocketAddr,
    client: Client,
    recorder: Arc<Recorder>,
}

impl Recording {
    /// Stands before `server`, on a free loopback port.
    ///
    /// # Errors
    /// If there is no such port.
    pub async fn start(server: SocketAddr, recorder: Arc<Recorder>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // The client asks for one even where it only speaks HTTP; a second call finds it installed.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        #[allow(
            clippy::disallowed_methods,
            reason = "the proxy of a test reaches the server of the test only"
        )]
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build()
            .map_err(std::io::Error::other)?;
        let proxy = Proxy {
            server,
            client,
            recorder: recorder.clone(),
        };
        let router = Router::new().fallback(forward).with_state(proxy);
        let task = tokio::spawn(async move {
            // It never ends by itself.
            axum::serve(listener, router).await.ok();
        });
        Ok(Self {
            address,
            recorder,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The judge.
    #[must_use]
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    match proxy.forward(request).await {
        Ok(response) => response,
        // What a client sees that loses the connection: no answer that means anything.
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Proxy {
    async fn forward(
        &self,
        request: Request,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let (mut parts, body) = request.into_parts();
        let sent = Limited::new(body, LONGEST_BODY).collect().await?.to_bytes();
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        for name in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
            header::ACCEPT_ENCODING,
        ] {
            parts.headers.remove(name);
        }
        let asked = self
            .client
            .request(
                parts.method.clone(),
                format!("http://{}{target}", self.server),
            )
            .headers(parts.headers)
            .body(sent.clone());
        let answer: http::Response<reqwest::Body> = asked.send().await?.into();
        let (mut head, body) = answer.into_parts();
        let body: Bytes = Limited::new(body, LONGEST_BODY).collect().await?.to_bytes();
        let kind = head.headers.get(header::CONTENT_TYPE);
        self.recorder.record(&Exchange {
            method: parts.method.as_str(),
            target,
            sent: &sent,
            status: head.status.as_u16(),
            content_type: kind.and_then(|kind| kind.to_str().ok()),
            body: &body,
        });
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONNECTION);
        Ok(Response::from_parts(head, Body::from(body)))
    }
}
