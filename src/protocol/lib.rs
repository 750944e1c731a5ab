//! The rules of Matrix, and nothing else: events, canonical JSON, hashes, signatures, redaction, authorisation, power
//! levels and state resolution, for room versions 1 to 12.
//!
//! Pure functions: no async, no input or output, no clock, no randomness. What they need beyond their arguments, such as
//! another event or a public key, the caller passes as a look-up. Most of the rules are Ruma's; this crate keeps them
//! behind a small surface, so that the rest of the server depends on these names alone.
//!
//! | to | use |
//! |---|---|
//! | make an event | [`Draft`], [`seal`], [`auth_types`] |
//! | make one that another server drafts | [`seal_template`], [`to_template`] |
//! | take an event from another server | [`Pdu::parse`], [`verify_event`], [`check_auth_events`], [`check_state`] |
//! | read an event from the store | [`Pdu::from_stored`] |
//! | show it | [`ClientEvent`], [`client_json`], [`strip`], [`federation_json`] |
//! | redact it | [`may_redact`], [`redact`] |
//! | join states | [`resolve`], [`auth_chains`], [`conflicted_subgraph`] |
//! | sign anything else | [`SigningKey`], [`sign_json`], [`verify_json`] |
//!
//! Events of room versions 1 to 5 whose numbers canonical JSON cannot express are refused, although those versions allow
//! them: Ruma has no form for them.

mod auth;
mod canonical;
mod client_form;
mod draft;
mod errors;
mod key;
mod pdu;
mod policy;
mod power;
#[cfg(test)]
mod properties;
mod redaction;
mod resolution;
#[cfg(test)]
mod scenario;
mod signature;
mod template;
mod version;

pub use auth::{auth_types, check_auth_events, check_named, check_state, create_id};
pub use canonical::{MAX_NESTING, check_content, nesting, parse_object, to_text};
pub use client_form::{ClientEvent, Unsigned, client_json, federation_json, strip};
pub use draft::{Draft, seal};
pub use errors::{BadSignature, Denied, Fault, Malformed, Unresolved};
pub use key::SigningKey;
pub use pdu::{Depth, MAX_EVENT_BYTES, MAX_FIELD_BYTES, Pdu};
pub use policy::{POLICY_KEY_ID, PolicyServer, needs_policy, policy_signature};
pub use power::{Level, PowerLevels};
pub use redaction::{may_redact, redact};
pub use resolution::{Conflict, MAX_AUTH_EVENTS, StateMap, resolve_conflict, resolve_whole};
pub use signature::{
    PublicKeys, countersign, reference_hash, required_signatures, sign_json, verify_content_hash,
    verify_event, verify_json, verify_signatures,
};
pub use template::{MemberDraft, seal_template, to_template};
pub use version::RoomVersion;
