//! Owns the seam of rate limits. Must never decide how fast is too fast: whoever implements [`RateLimit`] does.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#rate-limiting>

use std::{net::IpAddr, time::Duration};

use ruma::UserId;

/// The caller is too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When to try again.
    pub retry_after: Duration,
}

/// Decides whether a call to an endpoint that the specification calls rate-limited is let in.
pub trait RateLimit: Send + Sync + 'static {
    /// Asked once a call, before the handler; `user` is absent where the endpoint needs no login.
    ///
    /// # Errors
    /// The refusal, which becomes `M_LIMIT_EXCEEDED`.
    fn admit(&self, user: Option<&UserId>, address: Option<IpAddr>) -> Result<(), Refusal>;
}
