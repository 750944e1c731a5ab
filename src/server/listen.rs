//! Sockets and connections: accepts at most so many at once, gives each a time limit for what it must send first, and
//! lets answers under way finish when the server stops. Must never know a path.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tower::Service as _;

use crate::{Error, tls::Tls};

/// Requests that one HTTP/2 connection may have open.
const STREAMS: u32 = 128;
/// Bytes that are buffered of an HTTP/1 connection, the head of a request included.
const BUFFER: usize = 64 << 10;
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
        let (router, manners, watcher) = (router.clone(), manners.clone(), connections.watcher());
        tokio::spawn(async move {
            metrics::gauge!("hearth_connections").increment(1);
            greet(stream, peer, router, manners, watcher).await;
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

async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    router: watch::Receiver<Router>,
    manners: Manners,
    watcher: Watcher,
) {
    // Small answers go out at once; a socket that does not know this is still good.
    stream.set_nodelay(true).ok();
    let Some(tls) = &manners.tls else {
        return converse(stream, peer, router, &manners, watcher).await;
    };
    // In boxes, so that a connection without TLS does not carry the room that one with it needs.
    let accepted = Box::pin(timeout(
        manners.header_timeout,
        tls.acceptor().accept(stream),
    ));
    match accepted.await {
        Ok(Ok(stream)) => Box::pin(converse(stream, peer, router, &manners, watcher)).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
    }
}

async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    router: watch::Receiver<Router>,
    manners: &Manners,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(manners.header_timeout)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(BUFFER).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let behind_proxy = manners.behind_proxy;
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let caller = caller(&request, peer, behind_proxy);
        request.extensions_mut().insert(ConnectInfo(caller));
        let mut router = router.borrow().clone();
        router.call(request)
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, error, "a connection ended badly");
    }
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
