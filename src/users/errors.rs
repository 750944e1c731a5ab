//! Owns the reasons for which this crate refuses. Must never know a status code: edges turn a refusal into one.

use hearth_protocol::{Fault, Malformed};

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such account, device, filter, version …
    #[error("{0}")]
    NotFound(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The request is not acceptable, for a reason that has a name in the specification.
    #[error("{reason}")]
    Refused {
        /// Which one.
        kind: Refusal,
        /// A sentence for people.
        reason: String,
    },
    /// Too many others want the same at this moment: try again.
    #[error("too busy, try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hearth_store::Error),
}

/// Reasons that have an errcode of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `M_USER_IN_USE`
    UserInUse,
    /// `M_INVALID_USERNAME`
    InvalidUsername,
    /// `M_WEAK_PASSWORD`
    WeakPassword,
    /// `M_USER_DEACTIVATED`
    UserDeactivated,
    /// `M_UNKNOWN_TOKEN`
    UnknownToken {
        /// Whether the device stays logged in and only needs a new access token.
        soft_logout: bool,
    },
    /// `M_BAD_JSON`
    BadJson,
    /// `M_INVALID_PARAM`
    InvalidParam,
    /// `M_MISSING_PARAM`
    MissingParam,
    /// `M_TOO_LARGE`
    TooLarge,
    /// `M_PROFILE_TOO_LARGE`
    ProfileTooLarge,
    /// `M_KEY_TOO_LARGE`
    KeyTooLarge,
    /// `M_INVALID_SIGNATURE`
    InvalidSignature,
    /// `M_WRONG_ROOM_KEYS_VERSION`
    WrongRoomKeysVersion {
        /// The version that is current.
        current: Option<String>,
    },
    /// `M_UNKNOWN`
    Unknown,
}

impl Error {
    /// A refusal for the named reason.
    pub fn refused(kind: Refusal, reason: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            reason: reason.into(),
        }
    }

    /// Nothing of that name.
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::NotFound(reason.into())
    }

    /// Not allowed.
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self::Forbidden(reason.into())
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        let kind = match malformed.fault {
            Fault::TooLarge => Refusal::TooLarge,
            Fault::NotJson | Fault::NotCanonical | Fault::Format => Refusal::BadJson,
        };
        Self::refused(kind, malformed.reason)
    }
}
