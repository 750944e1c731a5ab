//! Owns the ways in which the rules say no. Must never name an HTTP status or an errcode: edges translate.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use ruma::OwnedEventId;
use thiserror::Error;

/// What is wrong with JSON that should be an event, a content or a signed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are not JSON at all. Clients are told `M_NOT_JSON`.
    NotJson,
    /// JSON, but not canonical JSON: a float, an integer beyond ±(2^53 - 1), or nested too deeply.
    /// Clients are told `M_BAD_JSON`.
    NotCanonical,
    /// A field is missing, has the wrong type or breaks its grammar. Clients are told `M_BAD_JSON`.
    Format,
    /// The event or one of its fields is longer than the specification allows. Clients are told `M_TOO_LARGE`.
    TooLarge,
}

/// The input is not what the specification calls an event (or an object) and is dropped.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("malformed: {reason}")]
pub struct Malformed {
    /// What kind of wrong it is, from which an edge picks its errcode.
    pub fault: Fault,
    /// For people; never parsed.
    pub reason: String,
}

impl Malformed {
    /// A field that is missing, of the wrong type or against its grammar.
    pub(crate) fn format(reason: impl ToString) -> Self {
        Self {
            fault: Fault::Format,
            reason: reason.to_string(),
        }
    }

    /// Something longer than the specification allows.
    pub(crate) fn too_large(reason: impl ToString) -> Self {
        Self {
            fault: Fault::TooLarge,
            reason: reason.to_string(),
        }
    }

    /// JSON that canonical JSON cannot express.
    pub(crate) fn not_canonical(reason: impl ToString) -> Self {
        Self {
            fault: Fault::NotCanonical,
            reason: reason.to_string(),
        }
    }
}

/// An authorisation rule says no. The event is rejected, soft-failed or refused to the client, as the caller's
/// step demands.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("denied: {reason}")]
pub struct Denied {
    /// For people; never parsed.
    pub reason: String,
}

/// A signature that is required is missing, was made with a key that the caller did not pass, or is wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("bad signature: {reason}")]
pub struct BadSignature {
    /// For people; never parsed.
    pub reason: String,
}

/// State resolution could not be computed. Nothing was decided; the caller fetches what is missing or raises an alarm.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unresolved {
    /// An event that the algorithm needs was not found.
    #[error("state resolution needs event {0}, which is missing")]
    Missing(OwnedEventId),
    /// The graph of auth events is larger than the limit.
    #[error("state resolution would walk more than {0} auth events")]
    TooLarge(usize),
    /// An event in the state cannot be part of a state at all.
    #[error("state resolution failed: {0}")]
    Corrupt(String),
}
