//! Owns the step from an HTTP request to a request of Ruma's and the session that sent it. Must never let a body through
//! that is too long, too slow, not JSON or nested too deeply: what comes after may recurse.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#standard-error-response>

use std::net::{IpAddr, SocketAddr};

use axum::{
    body::Body,
    extract::{ConnectInfo, FromRequestParts, RawPathParams, Request},
};
use bytes::Bytes;
use hearth_users::Session;
use http::{Method, StatusCode, header::AUTHORIZATION, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ruma::api::{
    IncomingRequest, IncomingRequestExt,
    auth_scheme::{AccessTokenOptional, AuthScheme},
    error::{DeserializationError, ErrorKind, FromHttpRequestError},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::{App, error::Error};

/// How deep a body may be nested: an event's content may use [`hearth_protocol::MAX_NESTING`], what is around it a few more.
const MAX_NESTING: usize = hearth_protocol::MAX_NESTING + 8;

/// Reads the request as `T`.
pub(crate) async fn read<T: IncomingRequest>(
    app: &App,
    mut parts: Parts,
    body: Body,
) -> Result<T, Error> {
    let arguments = RawPathParams::from_request_parts(&mut parts, app)
        .await
        .map_err(|_| Error::invalid_param("the path is not valid UTF-8"))?;
    let body = take(app, body).await?;
    let body = match T::METHOD {
        // Clients leave out the body where all of it is optional.
        Method::POST if body.is_empty() => Bytes::from_static(b"{}"),
        _ => body,
    };
    if T::METHOD != Method::GET {
        check_json(&body)?;
    }
    let arguments: Vec<&str> = arguments.iter().map(|(_, value)| value).collect();
    T::try_from_http_request(Request::from_parts(parts, &body), &arguments).map_err(refuse)
}

/// Reads a body of a form that Ruma has no type for; an empty one is an empty object.
pub(crate) async fn json<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Error> {
    let mut body = take(app, body).await?;
    if body.is_empty() {
        body = Bytes::from_static(b"{}");
    }
    check_json(&body)?;
    serde_json::from_slice(&body).map_err(|error| Error::bad_json(error.to_string()))
}

/// The session whose access token the request carries; `None` without a token.
pub(crate) async fn session(app: &App, parts: &Parts) -> Result<Option<Session>, Error> {
    let Some(token) = token(parts)? else {
        return Ok(None);
    };
    match app.users.authenticate(&token).await? {
        Some(session) => Ok(Some(session)),
        None => Err(Error::unknown_token(false)),
    }
}

/// Asks the rate limit, if there is one and the endpoint is subject to it.
pub(crate) fn admit<T: IncomingRequest>(
    app: &App,
    session: Option<&Session>,
    parts: &Parts,
) -> Result<(), Error> {
    let Some(limit) = &app.settings.rate_limit else {
        return Ok(());
    };
    if !T::RATE_LIMITED {
        return Ok(());
    }
    let user = session.map(|session| &*session.user_id);
    limit
        .admit(user, address(parts))
        .map_err(|refusal| Error::limited(refusal.retry_after))
}

/// Where the caller connects from, if the server knows.
pub(crate) fn address(parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(address) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(address.ip())
}

fn token(parts: &Parts) -> Result<Option<String>, Error> {
    let mut headers_only = http::Request::new(());
    if let Some(value) = parts.headers.get(AUTHORIZATION) {
        headers_only
            .headers_mut()
            .insert(AUTHORIZATION, value.clone());
    }
    headers_only.uri_mut().clone_from(&parts.uri);
    AccessTokenOptional::extract_authentication(&headers_only)
        .map_err(|_| Error::missing_token("the access token cannot be read"))
}

async fn take(app: &App, body: Body) -> Result<Bytes, Error> {
    timeout(
        app.settings.body_timeout,
        collect(body, app.settings.max_body_bytes),
    )
    .await
    .map_err(|_| Error::too_slow("the request body took too long to arrive"))?
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::too_large("the request body is too long"))
        }
        Err(_) => Err(Error::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::Unknown,
            "the request body could not be read",
        )),
    }
}

/// Checks that a body is JSON, and not nested so deeply that a parser would give up. An empty body is left to the endpoint.
fn check_json(body: &[u8]) -> Result<(), Error> {
    if body.is_empty() {
        return Ok(());
    }
    let text = std::str::from_utf8(body).map_err(|_| Error::not_json("the body is not UTF-8"))?;
    if hearth_protocol::nesting(body) > MAX_NESTING {
        return Err(Error::bad_json("the body is nested too deeply"));
    }
    serde_json::from_str::<&RawValue>(text).map_err(|error| Error::not_json(error.to_string()))?;
    Ok(())
}

/// What is said to a request that is not of the form that its endpoint wants.
pub(crate) fn refuse(error: FromHttpRequestError) -> Error {
    let FromHttpRequestError::Deserialization(error) = error else {
        return Error::unrecognized(StatusCode::METHOD_NOT_ALLOWED);
    };
    match error {
        DeserializationError::Json(error) if error.is_data() => Error::bad_json(error.to_string()),
        DeserializationError::Json(error) => Error::not_json(error.to_string()),
        DeserializationError::Utf8(error) => Error::not_json(error.to_string()),
        DeserializationError::Query(error) if error.to_string().starts_with("missing field") => {
            Error::missing_param(error.to_string())
        }
        other => Error::invalid_param(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hearth_protocol::nesting;

    use super::{MAX_NESTING, check_json};

    #[test]
    fn nesting_is_counted_outside_strings() {
        assert_eq!(nesting(br#"{"a":["[[[",{"b":"\"{{"}]}"#), 3);
        assert_eq!(nesting(b"]]]]["), 1);
    }

    #[test]
    fn deep_and_broken_bodies_are_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        check_json(deep.as_bytes()).unwrap_err();
        let fine = format!("{}{}", "[".repeat(MAX_NESTING), "]".repeat(MAX_NESTING));
        check_json(fine.as_bytes()).unwrap();
        check_json(b"{").unwrap_err();
        check_json(b"\xff\xfe").unwrap_err();
        check_json(b"").unwrap();
    }
}
