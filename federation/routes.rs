//! Owns the table of endpoints: which handler serves which request type, and who may call it. Must never know a particular
//! endpoint.
//!
//! A request type of Ruma's says its method, its path and whether the sender has to be proven, so an endpoint is mounted by
//! naming its handler.

use std::future::Future;

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts as _, RawPathParams, Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId,
    api::{
        IncomingRequest, IncomingRequestExt as _, OutgoingResponse, OutgoingResponseExt as _,
        auth_scheme::NoAuthentication, federation::authentication::ServerSignatures,
        path_builder::PathBuilder as _,
    },
};
use serde_json::{Value, value::RawValue};

use crate::{Federation, error::Error};

/// How deep a body may be nested: an event's content may use [`hearth_protocol::MAX_NESTING`], what is around it a few more.
const MAX_NESTING: usize = hearth_protocol::MAX_NESTING + 8;

/// The longest body of a request, in bytes: 50 events of the greatest length, and 100 messages.
const MAX_BODY: usize = 16 << 20;

/// Endpoints and the paths they are served at.
pub(crate) struct Routes {
    table: Vec<(Method, String)>,
    router: Router<Federation>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            table: Vec::new(),
            router: Router::new(),
        }
    }

    /// An endpoint for anybody: `async fn handler(federation, request) -> Result<answer, Error>`.
    pub(crate) fn open<T, R, F, Fut>(self, handler: F) -> Self
    where
        T: IncomingRequest<Authentication = NoAuthentication> + Send + 'static,
        R: OutgoingResponse,
        F: Fn(Federation, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Error>> + Send,
    {
        self.mount::<T, _, _>(move |federation: Federation, parts: Parts, body: Bytes| {
            let handler = handler.clone();
            async move {
                let request = read::<T>(&federation, parts, &body).await?;
                answer(handler(federation, request).await?)
            }
        })
    }

    /// An endpoint for servers: `async fn handler(federation, origin, request) -> Result<answer, Error>`.
    pub(crate) fn server<T, R, F, Fut>(self, handler: F) -> Self
    where
        T: IncomingRequest<Authentication = ServerSignatures> + Send + 'static,
        R: OutgoingResponse,
        F: Fn(Federation, OwnedServerName, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Error>> + Send,
    {
        self.mount::<T, _, _>(move |federation: Federation, parts: Parts, body: Bytes| {
            let handler = handler.clone();
            async move {
                let origin = federation.peers.authenticate(&parts, &body).await?;
                let _turn = federation.origins().admit(&origin).await?;
                let request = read::<T>(&federation, parts, &body).await?;
                answer(handler(federation, origin, request).await?)
            }
        })
    }

    /// An endpoint for servers that Ruma has no type for, with the room and the event in its path and an event as its body:
    /// `async fn handler(federation, origin, (room, event), body) -> Result<answer, Error>`.
    pub(crate) fn event<F, Fut>(mut self, path: &str, handler: F) -> Self
    where
        F: Fn(Federation, OwnedServerName, (OwnedRoomId, OwnedEventId), Box<RawValue>) -> Fut
            + Clone
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = Result<Value, Error>> + Send,
    {
        self.add(&Method::PUT, path, move |federation, mut parts, body| {
            let handler = handler.clone();
            async move {
                let origin = federation.peers.authenticate(&parts, &body).await?;
                let _turn = federation.origins().admit(&origin).await?;
                let named = RawPathParams::from_request_parts(&mut parts, &federation).await;
                let named = named.map_err(|_| Error::invalid_param("the path is not UTF-8"))?;
                let mut named = named.iter().map(|(_, value)| value);
                let room = named.next().and_then(|room| RoomId::parse(room).ok());
                let event = named.next().and_then(|event| EventId::parse(event).ok());
                let (Some(room), Some(event)) = (room, event) else {
                    return Err(Error::invalid_param("the path names no room and event"));
                };
                let event_json =
                    serde_json::from_slice(&body).map_err(|e| Error::not_json(e.to_string()))?;
                let answer = handler(federation, origin, (room, event), event_json).await?;
                Ok(axum::Json(answer).into_response())
            }
        });
        self
    }

    /// These and those.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        self.router = self.router.merge(other.router);
        self
    }

    /// Method and path of every endpoint.
    pub(crate) fn table(&self) -> &[(Method, String)] {
        &self.table
    }

    /// What serves them.
    pub(crate) fn into_router(self) -> Router<Federation> {
        self.router
    }

    fn mount<T, F, Fut>(mut self, serve: F) -> Self
    where
        T: IncomingRequest,
        F: Fn(Federation, Parts, Bytes) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Error>> + Send,
    {
        for path in T::PATH_BUILDER.all_paths() {
            self.add(&T::METHOD, path, serve.clone());
        }
        self
    }

    fn add<F, Fut>(&mut self, method: &Method, path: &str, serve: F)
    where
        F: Fn(Federation, Parts, Bytes) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Error>> + Send,
    {
        let path = numbered(path);
        if let Ok(filter) = MethodFilter::try_from(method.clone()) {
            let service = on(
                filter,
                move |State(federation): State<Federation>, request: Request| {
                    let serve = serve.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let answered = match collect(body).await {
                            Ok(body) => serve(federation, parts, body).await,
                            Err(error) => Err(error),
                        };
                        answered.unwrap_or_else(IntoResponse::into_response)
                    }
                },
            );
            let router = std::mem::take(&mut self.router);
            self.router = router.route(&path, service);
            self.table.push((method.clone(), path));
        }
    }
}

/// The path with its parameters named by their number: endpoints that share a path must agree on the names.
fn numbered(path: &str) -> String {
    let mut count = 0_usize;
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            count += 1;
            format!("{{p{count}}}")
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

async fn collect(body: Body) -> Result<Bytes, Error> {
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Error::too_large("the request body is too long"));
        }
        Err(_) => {
            let status = StatusCode::BAD_REQUEST;
            return Err(Error::new(
                status,
                "M_UNKNOWN",
                "the request body could not be read",
            ));
        }
    };
    if body.is_empty() {
        return Ok(body);
    }
    let text = std::str::from_utf8(&body).map_err(|_| Error::not_json("the body is not UTF-8"))?;
    if hearth_protocol::nesting(&body) > MAX_NESTING {
        return Err(Error::bad_json("the body is nested too deeply"));
    }
    serde_json::from_str::<&RawValue>(text).map_err(|e| Error::not_json(e.to_string()))?;
    Ok(body)
}

async fn read<T: IncomingRequest>(
    federation: &Federation,
    mut parts: Parts,
    body: &Bytes,
) -> Result<T, Error> {
    let arguments = RawPathParams::from_request_parts(&mut parts, federation)
        .await
        .map_err(|_| Error::invalid_param("the path is not valid UTF-8"))?;
    let arguments: Vec<&str> = arguments.iter().map(|(_, value)| value).collect();
    T::try_from_http_request(http::Request::from_parts(parts, body), &arguments).map_err(|e| {
        use ruma::api::error::{DeserializationError, FromHttpRequestError};
        match e {
            FromHttpRequestError::Deserialization(DeserializationError::Json(e)) => {
                Error::bad_json(e.to_string())
            }
            other => Error::invalid_param(other.to_string()),
        }
    })
}

fn answer(answer: impl OutgoingResponse) -> Result<Response, Error> {
    let response = answer
        .try_into_http_response::<Vec<u8>>()
        .map_err(|e| Error::internal(&e))?;
    let mut response = response.map(Body::from);
    response
        .headers_mut()
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    Ok(response)
}
