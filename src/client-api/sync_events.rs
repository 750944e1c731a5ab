//! What is new: `GET /_matrix/client/v3/sync`
//!
//! Owns nothing but the way there: what is in the answer is `sync`'s to say.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>
