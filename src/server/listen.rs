//! Sockets and connections: accepts at most so many at once, gives each a time limit for what it must send first, and
//! lets answers under way finish when the server stops. Must never know a path.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, routing::future::RouteFuture};
use futures_util::FutureExt as _;
use http::Request;
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulConnection, GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tower::Service as _;

use crate::{Error, tls::Tls};

/// Requests that one HTTP/2 connection may have open.
const STREAMS: u32 = 128;
/// Bytes that are buffered of an HTTP/1 connection, the head of a request included.
const BUFFER: usize = 64 << 10;
/// With what a client begins that speaks HTTP/2 without asking; no method of HTTP/1 begins so.
const HTTP2: &[u8] = b"PRI";
/// How long to wait after the system could not give a connection (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// How connections are treated.
#[derive(Clone)]
pub(crate) struct Manners {
    /// Open connections at once, over all listeners.
    pub(crate) slots: Arc<Semaphore>,
    /// For the head of a request, and for the TLS handshake.
    pub(crate) header_timeout: Duration,
    /// Whether `X-Forwarded-For` is believed.
    pub(crate) behind_proxy: bool,
    /// HTTPS if present.
    pub(crate) tls: Option<Tls>,
}

/// Binds `address`.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| {
        let remedy = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                " (another program, or another Hearth, uses that port)"
            }
            std::io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
            _ => "",
        };
        Error::io(format!("cannot listen at {address}{remedy}"), e)
    })
}

/// Serves what connects to `listener` until `stop` says so, then waits for answers under way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: watch::Receiver<Router>,
    manners: Manners,
    mut stop: watch::Receiver<bool>,
) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &manners.slots) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, peer, slot)) = accepted else {
            continue;
        };
        let line = Line {
            peer,
            router: router.clone(),
            manners: manners.clone(),
            watcher: connections.watcher(),
            stop: stop.clone(),
        };
        metrics::gauge!("hearth_connections").increment(1);
        tokio::spawn(async move {
            line.greet(stream).await;
            metrics::gauge!("hearth_connections").decrement(1);
            drop(slot);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// What a connection is served with.
struct Line {
    peer: SocketAddr,
    router: watch::Receiver<Router>,
    manners: Manners,
    watcher: Watcher,
    stop: watch::Receiver<bool>,
}

impl Line {
    /// Serves a connection to its end. Thousands wait in here, each for its whole life: all but the plain HTTP/1 that most
    /// of them speak is in boxes, so that nobody carries the room that another kind needs.
    async fn greet(mut self, stream: TcpStream) {
        // Small answers go out at once; a socket that does not know this is still good.
        stream.set_nodelay(true).ok();
        if self.manners.tls.is_some() {
            return Box::pin(self.greet_with_tls(stream)).await;
        }
        match Box::pin(self.speaks_http2(&stream)).await {
            Some(true) => Box::pin(self.http2(TokioIo::new(stream))).await,
            Some(false) => self.http1(TokioIo::new(stream)).await,
            None => {}
        }
    }

    /// Nothing from a client that says nothing in time, and when the server stops.
    async fn speaks_http2(&mut self, stream: &TcpStream) -> Option<bool> {
        tokio::select! {
            begun = timeout(self.manners.header_timeout, begins_with_http2(stream)) => begun.ok(),
            _ = self.stop.wait_for(|stop| *stop) => None,
        }
    }

    async fn greet_with_tls(self, stream: TcpStream) {
        let peer = self.peer;
        let Some(tls) = &self.manners.tls else {
            return;
        };
        let accepted = timeout(
            self.manners.header_timeout,
            Box::pin(tls.acceptor().accept(stream)),
        );
        match accepted.await {
            Ok(Ok(stream)) if agreed_on_http2(&stream) => self.http2(TokioIo::new(stream)).await,
            Ok(Ok(stream)) => self.http1(TokioIo::new(stream)).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    /// Not an `async fn`, which would keep room for everything twice.
    fn http1<S>(self, stream: S) -> impl Future<Output = ()>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.manners.header_timeout)
            .max_buf_size(BUFFER)
            .serve_connection(
                stream,
                answering(self.peer, self.router, self.manners.behind_proxy),
            );
        to_its_end(self.peer, self.watcher, connection)
    }

    fn http2<S>(self, stream: S) -> impl Future<Output = ()>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(BUFFER).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(
                stream,
                answering(self.peer, self.router, self.manners.behind_proxy),
            );
        to_its_end(self.peer, self.watcher, connection)
    }
}

/// Serves a connection until it ends, or the server does.
fn to_its_end(
    peer: SocketAddr,
    watcher: Watcher,
    connection: impl GracefulConnection<Error = hyper::Error>,
) -> impl Future<Output = ()> {
    watcher.watch(connection).map(move |ended| {
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended badly");
        }
    })
}

/// Waits for the first bytes and leaves them where they are. What comes in pieces shorter than a word is HTTP/1.
async fn begins_with_http2(stream: &TcpStream) -> bool {
    let mut begin = [0; HTTP2.len()];
    stream.peek(&mut begin).await.is_ok() && begin == HTTP2
}

fn agreed_on_http2(stream: &TlsStream<TcpStream>) -> bool {
    let (_, session) = stream.get_ref();
    session.alpn_protocol() == Some(b"h2")
}

/// What answers the requests of a connection.
fn answering(
    peer: SocketAddr,
    router: watch::Receiver<Router>,
    behind_proxy: bool,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future = RouteFuture<Infallible>,
> {
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let caller = caller(&request, peer, behind_proxy);
        request.extensions_mut().insert(ConnectInfo(caller));
        let mut router = router.borrow().clone();
        router.call(request.map(Body::new))
    })
}

/// Who calls: the peer, or whom the proxy says it speaks for.
fn caller(request: &Request<Incoming>, peer: SocketAddr, behind_proxy: bool) -> SocketAddr {
    if !behind_proxy {
        return peer;
    }
    let header = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .next_back();
    header
        .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok())
        .map_or(peer, |address| SocketAddr::new(address, 0))
}
