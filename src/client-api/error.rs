//! Owns every refusal that a client sees: the status, the errcode and a sentence for people. Must never show what only
//! operators may see: an internal error is logged here and answered with `M_UNKNOWN`.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#standard-error-response>

use std::{fmt::Display, time::Duration};

use axum::response::{IntoResponse, Response};
use hearth_protocol::{Fault, Malformed};
use http::StatusCode;
use ruma::api::error::{
    ErrorKind, IncompatibleRoomVersionErrorData, LimitExceededErrorData, RetryAfter,
    StandardErrorBody, UnknownTokenErrorData, WrongRoomKeysVersionErrorData,
};
use serde_json::{Value, json};

use crate::answer::json_response;

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Error(Box<Refusal>);

#[derive(Clone, Debug)]
enum Refusal {
    /// As the specification's standard error response.
    Standard {
        status: StatusCode,
        kind: ErrorKind,
        message: String,
    },
    /// With a body of its own: the stages of user-interactive authentication.
    Other { status: StatusCode, body: Value },
}

impl Error {
    /// A refusal with the given status, errcode and sentence.
    pub(crate) fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal::Standard {
            status,
            kind,
            message: message.into(),
        }))
    }

    /// A refusal whose body is `body` as it stands.
    pub(crate) fn with_body(status: StatusCode, body: Value) -> Self {
        Self(Box::new(Refusal::Other { status, body }))
    }

    /// 403 `M_FORBIDDEN`.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Forbidden, message)
    }

    /// 404 `M_NOT_FOUND`.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    /// 400 with `kind`.
    pub(crate) fn bad_request(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// 400 `M_BAD_JSON`.
    pub(crate) fn bad_json(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::BadJson, message)
    }

    /// 400 `M_NOT_JSON`.
    pub(crate) fn not_json(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::NotJson, message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub(crate) fn invalid_param(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::InvalidParam, message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub(crate) fn missing_param(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::MissingParam, message)
    }

    /// 413 `M_TOO_LARGE`.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
    }

    /// 408 `M_UNKNOWN`.
    pub(crate) fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Unknown, message)
    }

    /// 401 `M_MISSING_TOKEN`.
    pub(crate) fn missing_token(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::MissingToken, message)
    }

    /// 401 `M_UNKNOWN_TOKEN`; after a soft logout the device stays and a new login may take it up.
    pub(crate) fn unknown_token(soft_logout: bool) -> Self {
        let mut facts = UnknownTokenErrorData::new();
        facts.soft_logout = soft_logout;
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::UnknownToken(facts),
            "the access token is not known",
        )
    }

    /// 429 `M_LIMIT_EXCEEDED`.
    pub(crate) fn limited(retry_after: Duration) -> Self {
        let mut facts = LimitExceededErrorData::new();
        facts.retry_after = Some(RetryAfter::Delay(retry_after));
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::LimitExceeded(facts),
            "too many requests",
        )
    }

    /// `M_UNRECOGNIZED`: the path or the method is not served.
    pub(crate) fn unrecognized(status: StatusCode) -> Self {
        Self::new(status, ErrorKind::Unrecognized, "unrecognized request")
    }

    /// 500 `M_UNKNOWN`: a fault of this server, logged whole and shown as a bare sentence.
    pub(crate) fn internal(error: &dyn Display) -> Self {
        tracing::error!(%error, "a request failed inside");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Unknown,
            "internal server error",
        )
    }

    /// 503 `M_UNKNOWN`: something this server needs does not answer; trying later may help.
    pub(crate) fn unavailable(error: &dyn Display) -> Self {
        tracing::warn!(%error, "a request found something unavailable");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Unknown,
            "try again later",
        )
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let written = match *self.0 {
            Refusal::Standard {
                status,
                kind,
                message,
            } => {
                let retry_after = retry_after(&kind);
                json_response(status, &StandardErrorBody::new(kind, message)).map(|mut response| {
                    if let Some(value) = retry_after {
                        response
                            .headers_mut()
                            .insert(http::header::RETRY_AFTER, value);
                    }
                    response
                })
            }
            Refusal::Other { status, body } => json_response(status, &body),
        };
        // Strings and numbers always serialise.
        written.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

fn retry_after(kind: &ErrorKind) -> Option<http::HeaderValue> {
    let ErrorKind::LimitExceeded(facts) = kind else {
        return None;
    };
    http::HeaderValue::try_from(facts.retry_after.as_ref()?).ok()
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
        match error {
            hearth_rooms::Error::NotFound(reason) => Self::not_found(reason),
            hearth_rooms::Error::Forbidden(reason) => Self::forbidden(reason),
            hearth_rooms::Error::Refused { kind, reason } => refused(kind, reason),
            hearth_rooms::Error::Malformed(malformed) => malformed.into(),
            hearth_rooms::Error::Busy => Self::unavailable(&error),
            hearth_rooms::Error::Unreachable(reason) => {
                Self::new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown, reason)
            }
            hearth_rooms::Error::Store(error) => error.into(),
        }
    }
}

impl From<hearth_users::Error> for Error {
    fn from(error: hearth_users::Error) -> Self {
        match error {
            hearth_users::Error::NotFound(reason) => Self::not_found(reason),
            hearth_users::Error::Forbidden(reason) => Self::forbidden(reason),
            hearth_users::Error::Refused { kind, reason } => refused_user(kind, reason),
            hearth_users::Error::Busy => Self::unavailable(&error),
            hearth_users::Error::Store(error) => error.into(),
        }
    }
}

fn refused_user(refusal: hearth_users::Refusal, reason: String) -> Error {
    use hearth_users::Refusal as Kind;
    let kind = match refusal {
        Kind::UserInUse => ErrorKind::UserInUse,
        Kind::InvalidUsername => ErrorKind::InvalidUsername,
        Kind::WeakPassword => ErrorKind::WeakPassword,
        Kind::BadJson => ErrorKind::BadJson,
        Kind::InvalidParam => ErrorKind::InvalidParam,
        Kind::MissingParam => ErrorKind::MissingParam,
        Kind::ProfileTooLarge => ErrorKind::ProfileTooLarge,
        Kind::KeyTooLarge => ErrorKind::KeyTooLarge,
        Kind::Unknown => ErrorKind::Unknown,
        Kind::TooLarge => return Error::too_large(reason),
        Kind::UnknownToken { soft_logout } => return Error::unknown_token(soft_logout),
        Kind::UserDeactivated => {
            return Error::new(StatusCode::FORBIDDEN, ErrorKind::UserDeactivated, reason);
        }
        Kind::WrongRoomKeysVersion { current: Some(id) } => {
            let kind = ErrorKind::WrongRoomKeysVersion(WrongRoomKeysVersionErrorData::new(id));
            return Error::new(StatusCode::FORBIDDEN, kind, reason);
        }
        Kind::WrongRoomKeysVersion { current: None } => return Error::not_found(reason),
        // Ruma has no kind of its own for it.
        Kind::InvalidSignature => {
            let body = json!({ "errcode": "M_INVALID_SIGNATURE", "error": reason });
            return Error::with_body(StatusCode::BAD_REQUEST, body);
        }
    };
    Error::bad_request(kind, reason)
}

fn refused(refusal: hearth_rooms::Refusal, reason: String) -> Error {
    use hearth_rooms::Refusal as Kind;
    let (status, kind) = match refusal {
        Kind::BadState => (StatusCode::FORBIDDEN, ErrorKind::BadState),
        Kind::UnsupportedRoomVersion => {
            (StatusCode::BAD_REQUEST, ErrorKind::UnsupportedRoomVersion)
        }
        Kind::IncompatibleRoomVersion(version) => (
            StatusCode::BAD_REQUEST,
            ErrorKind::IncompatibleRoomVersion(IncompatibleRoomVersionErrorData::new(
                version.id().clone(),
            )),
        ),
        Kind::RoomInUse => (StatusCode::BAD_REQUEST, ErrorKind::RoomInUse),
        Kind::InvalidRoomState => (StatusCode::BAD_REQUEST, ErrorKind::InvalidRoomState),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge),
        Kind::BadJson => (StatusCode::BAD_REQUEST, ErrorKind::BadJson),
        Kind::InvalidParam => (StatusCode::BAD_REQUEST, ErrorKind::InvalidParam),
        Kind::BadAlias => (StatusCode::BAD_REQUEST, ErrorKind::BadAlias),
        Kind::DuplicateAnnotation => (StatusCode::BAD_REQUEST, ErrorKind::DuplicateAnnotation),
        Kind::UnableToGrantJoin => (StatusCode::BAD_REQUEST, ErrorKind::UnableToGrantJoin),
        Kind::UnableToAuthoriseJoin => (StatusCode::BAD_REQUEST, ErrorKind::UnableToAuthorizeJoin),
        Kind::LimitExceeded => (
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::LimitExceeded(LimitExceededErrorData::new()),
        ),
        Kind::Unknown => (StatusCode::BAD_REQUEST, ErrorKind::Unknown),
    };
    Error::new(status, kind, reason)
}

impl From<hearth_sync::Error> for Error {
    fn from(error: hearth_sync::Error) -> Self {
        match error {
            hearth_sync::Error::Token(error) => Self::invalid_param(error.to_string()),
            hearth_sync::Error::Rooms(error) => error.into(),
            hearth_sync::Error::Users(error) => error.into(),
            hearth_sync::Error::Store(error) => error.into(),
        }
    }
}

/// Answers a path that is not served.
pub(crate) async fn unknown_endpoint() -> Error {
    Error::unrecognized(StatusCode::NOT_FOUND)
}

/// Answers a method that is not served at its path.
pub(crate) async fn unknown_method() -> Error {
    Error::unrecognized(StatusCode::METHOD_NOT_ALLOWED)
}
