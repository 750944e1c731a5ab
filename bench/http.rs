//! Owns one connection to a server, kept for all requests of one caller. Must never look into an answer.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::Failure;

/// How long an answer may take: longer than a long poll of an overloaded server.
const PATIENCE: Duration = Duration::from_secs(150);

/// A caller.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What a server said.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body of an answer that says success.
    pub(crate) fn good(self) -> Result<Bytes, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().take(300).collect();
        Err(format!("the server answered {}: {text}", self.status).into())
    }
}

impl Client {
    /// Connects with the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Sends a request and waits for the whole answer. A connection that the server closed meanwhile is replaced.
    pub(crate) async fn call(
        &mut self,
        method: &Method,
        path: &str,
        token: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        let authorization = match token {
            "" => String::new(),
            token => format!("Bearer {token}"),
        };
        self.call_as(method, path, &authorization, body).await
    }

    /// The same with any header `Authorization`, or none if that is empty.
    pub(crate) async fn call_as(
        &mut self,
        method: &Method,
        path: &str,
        authorization: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        timeout(
            PATIENCE,
            self.call_patiently(method, path, authorization, body),
        )
        .await
        .map_err(|_| format!("no answer to {method} {path}"))?
    }

    async fn call_patiently(
        &mut self,
        method: &Method,
        path: &str,
        authorization: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        let mut tries_left = 2;
        loop {
            let was_open = self.connection.is_some();
            let request = self.request(method, path, authorization, body)?;
            match self.exchange(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.connection = None;
                    tries_left -= 1;
                    if tries_left == 0 || !was_open {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        authorization: &str,
        body: &str,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        if !authorization.is_empty() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        Ok(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.address).await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        Ok(Answer { status, body })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection; an error shows in the request that it broke.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
