//! Owns the ways in which a room says no. Must never name an HTTP status: edges translate.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#standard-error-response>

use hearth_protocol::{Denied, Malformed, RoomVersion};

/// Why a request about a room was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or the caller may not know that there is (`M_NOT_FOUND`).
    #[error("{0}")]
    NotFound(String),
    /// A rule says no (`M_FORBIDDEN`).
    #[error("{0}")]
    Forbidden(String),
    /// The request cannot be carried out as it stands.
    #[error("{reason}")]
    Refused {
        /// From which an edge picks its errcode.
        kind: Refusal,
        /// For people; never parsed.
        reason: String,
    },
    /// What should have become an event is none.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The room changed faster than the request could be planned, or too many wait for it: try later.
    #[error("the room is busy")]
    Busy,
    /// Another server does not answer, or not in a way that can be understood.
    #[error("{0}")]
    Unreachable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hearth_store::Error),
}

/// What kind of wrong a refused request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `M_BAD_STATE`: the change does not fit the state of the room.
    BadState,
    /// `M_UNSUPPORTED_ROOM_VERSION`.
    UnsupportedRoomVersion,
    /// `M_INCOMPATIBLE_ROOM_VERSION`: the room has this version.
    IncompatibleRoomVersion(RoomVersion),
    /// `M_ROOM_IN_USE`: the alias is taken.
    RoomInUse,
    /// `M_INVALID_ROOM_STATE`: the initial state contradicts itself.
    InvalidRoomState,
    /// `M_TOO_LARGE`.
    TooLarge,
    /// `M_BAD_JSON`.
    BadJson,
    /// `M_INVALID_PARAM`.
    InvalidParam,
    /// `M_BAD_ALIAS`: an alias in the content of `m.room.canonical_alias` does not point to the room.
    BadAlias,
    /// `M_DUPLICATE_ANNOTATION`: the same user reacted with the same key already.
    DuplicateAnnotation,
    /// `M_UNABLE_TO_GRANT_JOIN`: nobody here may let the user in.
    UnableToGrantJoin,
    /// `M_UNABLE_TO_AUTHORISE_JOIN`: nobody here knows whether the user may come.
    UnableToAuthoriseJoin,
    /// `M_LIMIT_EXCEEDED`.
    LimitExceeded,
    /// `M_UNKNOWN`, status 400: for what has no errcode of its own.
    Unknown,
}

impl Error {
    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self::NotFound(reason.into())
    }

    pub(crate) fn forbidden(reason: impl Into<String>) -> Self {
        Self::Forbidden(reason.into())
    }

    pub(crate) fn refused(kind: Refusal, reason: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            reason: reason.into(),
        }
    }

    /// Whether it may pass: the same may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy | Self::Store(_))
    }

    /// A stored record contradicts another: an alarm.
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Store(hearth_store::Error::Corrupt(reason.into()))
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::Forbidden(denied.reason)
    }
}
