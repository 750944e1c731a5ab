//! Owns every refusal that another server sees. Must never show what only operators may see.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#api-standards>

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hearth_protocol::{Fault, Malformed};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    status: StatusCode,
    body: Value,
}

impl Error {
    pub(crate) fn new(status: StatusCode, errcode: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            status,
            body: json!({ "errcode": errcode, "error": message }),
        }
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The refusal with a further field.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body[field] = value.into();
        self
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    pub(crate) fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    pub(crate) fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    pub(crate) fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// The server asks for more than is its due; it may try again.
    pub(crate) fn limit_exceeded() -> Self {
        metrics::counter!("hearth_federation_limited_total").increment(1);
        let (status, message) = (
            StatusCode::TOO_MANY_REQUESTS,
            "your server asks for too much",
        );
        Self::new(status, "M_LIMIT_EXCEEDED", message).with("retry_after_ms", 1000)
    }

    pub(crate) fn unrecognized(status: StatusCode) -> Self {
        Self::new(status, "M_UNRECOGNIZED", "unrecognized request")
    }

    /// A fault of this server, logged whole and shown as a bare sentence.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request of another server failed inside");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "M_UNKNOWN", "internal server error")
    }

    pub(crate) fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%error, "a request of another server found something unavailable");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "M_UNKNOWN", "try again later")
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        match malformed.fault {
            Fault::NotJson => Self::not_json(malformed.reason),
            Fault::NotCanonical | Fault::Format => Self::bad_json(malformed.reason),
            Fault::TooLarge => Self::too_large(malformed.reason),
        }
    }
}

impl From<hearth_store::Error> for Error {
    fn from(error: hearth_store::Error) -> Self {
        match error {
            hearth_store::Error::Unavailable(_) => Self::unavailable(&error),
            hearth_store::Error::Corrupt(_) => Self::internal(&error),
        }
    }
}

impl From<hearth_rooms::Error> for Error {
    fn from(error: hearth_rooms::Error) -> Self {
        use hearth_rooms::{Error as Rooms, Refusal};
        match error {
            Rooms::NotFound(reason) => Self::not_found(reason),
            Rooms::Forbidden(reason) => Self::forbidden(reason),
            Rooms::Refused { kind, reason } => match kind {
                Refusal::IncompatibleRoomVersion(version) => Self::new(
                    StatusCode::BAD_REQUEST,
                    "M_INCOMPATIBLE_ROOM_VERSION",
                    reason,
                )
                .with("room_version", version.as_str()),
                Refusal::UnableToGrantJoin => {
                    Self::new(StatusCode::BAD_REQUEST, "M_UNABLE_TO_GRANT_JOIN", reason)
                }
                Refusal::UnableToAuthoriseJoin => Self::new(
                    StatusCode::BAD_REQUEST,
                    "M_UNABLE_TO_AUTHORISE_JOIN",
                    reason,
                ),
                Refusal::BadState => Self::new(StatusCode::FORBIDDEN, "M_BAD_STATE", reason),
                Refusal::TooLarge => Self::too_large(reason),
                Refusal::BadJson => Self::bad_json(reason),
                Refusal::InvalidParam => Self::invalid_param(reason),
                _ => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", reason),
            },
            Rooms::Malformed(malformed) => malformed.into(),
            Rooms::Busy | Rooms::Unreachable(_) => Self::unavailable(&error),
            Rooms::Store(error) => error.into(),
        }
    }
}

impl From<hearth_users::Error> for Error {
    fn from(error: hearth_users::Error) -> Self {
        use hearth_users::Error as Users;
        match error {
            Users::NotFound(reason) => Self::not_found(reason),
            Users::Forbidden(reason) => Self::forbidden(reason),
            Users::Refused { reason, .. } => Self::invalid_param(reason),
            Users::Busy => Self::unavailable(&error),
            Users::Store(error) => error.into(),
        }
    }
}
