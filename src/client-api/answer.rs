//! Owns the step from an answer to bytes. Must never fail in a way that a client sees as anything but `M_UNKNOWN`.

use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, header};
use ruma::api::{OutgoingResponse, OutgoingResponseExt};
use serde::Serialize;

use crate::error::Error;

/// What a handler may answer with: a response of Ruma's, or [`Json`].
pub(crate) trait Answer {
    /// The answer as HTTP.
    ///
    /// # Errors
    /// If it cannot be serialised.
    fn into_http(self) -> Result<Response, Error>;
}

impl<T: OutgoingResponse> Answer for T {
    fn into_http(self) -> Result<Response, Error> {
        let response = self
            .try_into_http_response::<Vec<u8>>()
            .map_err(|error| Error::internal(&error))?;
        Ok(response.map(axum::body::Body::from))
    }
}

/// An answer that is serialised as it is, for forms that Ruma has no type for or that pass raw JSON through.
#[derive(Clone, Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> Answer for Json<T> {
    fn into_http(self) -> Result<Response, Error> {
        json_response(StatusCode::OK, &self.0)
    }
}

/// `value` as the body of a response with `status`.
pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Result<Response, Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::internal(&error))?;
    let mut response = Response::new(axum::body::Body::from(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
