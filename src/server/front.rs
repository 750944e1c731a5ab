//! What surrounds every endpoint: CORS, headers, compression, the last line of defence against panics, counting, and the
//! few paths that are about the process (`/metrics`, and those of `health.rs`). Must never look into a body.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#web-browser-clients>

use std::{any::Any, net::SocketAddr, panic::AssertUnwindSafe};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;
use tower_http::{CompressionLevel, compression::CompressionLayer};

use crate::{health::Health, telemetry};

const ANY: HeaderValue = HeaderValue::from_static("*");
const CORS_METHODS: HeaderValue =
    HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS");
const CORS_HEADERS: HeaderValue =
    HeaderValue::from_static("x-requested-with,content-type,authorization");
/// How many seconds browsers may remember what CORS allows: a day.
const CORS_MEMORY: HeaderValue = HeaderValue::from_static("86400");

/// Headers of every answer that does not set them itself, beside that of CORS.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// The endpoints with everything around them. `open_metrics`: whether loopback callers may read `/metrics` here.
pub(crate) fn surround(endpoints: Router, health: &Health, open_metrics: bool) -> Router {
    let mut router = endpoints.merge(health.router());
    if open_metrics {
        router = router.route("/metrics", get(metrics_for_loopback));
    }
    router
        .layer(middleware::from_fn(frame))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

/// The router of a listener that only serves metrics.
pub(crate) fn metrics_only() -> Router {
    Router::new().route("/metrics", get(rendered))
}

/// A loopback address alone may be a reverse proxy that speaks for the whole world, and then says so in a header.
async fn metrics_for_loopback(request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let direct = peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback());
    let headers = request.headers();
    let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    if direct && !forwarded.iter().any(|name| headers.contains_key(*name)) {
        rendered().await
    } else {
        error(
            StatusCode::NOT_FOUND,
            "M_UNRECOGNIZED",
            "set metrics.address to reach the metrics from elsewhere",
        )
    }
}

async fn rendered() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, telemetry::render()).into_response()
}

/// What is done around each answer, in one step: each further layer would cost every request a clone and a box, and every
/// request that waits its memory.
async fn frame(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return preflight();
    }
    let endpoint = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let method = known_method(request.method());
    let begin = Instant::now();
    // What a request leaves half done when it panics is its own: whatever is shared is locked or in the store.
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(after_panic);
    dress(response.headers_mut());
    let (taken, status) = (begin.elapsed(), response.status());
    tracing::debug!(
        method,
        endpoint,
        status = status.as_u16(),
        ms = taken.as_millis(),
        "answered"
    );
    let labels = [
        ("method", method.to_owned()),
        ("endpoint", endpoint),
        ("status", status.as_str().to_owned()),
    ];
    metrics::histogram!("hearth_http_request_seconds", &labels[..2]).record(taken.as_secs_f64());
    metrics::counter!("hearth_http_requests_total", &labels).increment(1);
    response
}

/// Headers that every answer has.
fn dress(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
}

/// What a browser is told that asks whether a page of another origin may send a request: it may.
fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    dress(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, CORS_MEMORY);
    response
}

/// A caller can invent methods; the metrics shall not grow with them.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// Takes what was thrown as it comes.
#[allow(clippy::needless_pass_by_value)]
fn after_panic(thrown: Box<dyn Any + Send + 'static>) -> Response {
    let text = thrown
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| thrown.downcast_ref::<&str>().copied())
        .unwrap_or("of an unknown kind");
    tracing::error!(
        panic = text,
        "a request ended in a panic: this is a defect, please report it"
    );
    metrics::counter!("hearth_panics_total").increment(1);
    error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "M_UNKNOWN",
        "the server made a mistake",
    )
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "errcode": code, "error": message }).to_string();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, Body::from(body)).into_response()
}
