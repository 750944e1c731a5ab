//! Owns `.well-known/matrix/server` of other servers: reading it, and how long it is believed. Must never believe one for
//! longer than two days, nor ask a server that fails again at once.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#getwell-knownmatrixserver>

use std::time::Duration;

use hearth_base::Millis;
use http::{HeaderMap, StatusCode, header};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

use super::{call::collect, web::Web};

/// The longest answer.
const MAX_BYTES: usize = 50 * 1024;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long an answer is believed that does not say for how long.
const DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an answer is believed at least, and at most.
const LEAST: Duration = Duration::from_secs(5 * 60);
const MOST: Duration = Duration::from_secs(48 * 60 * 60);

/// How long a failure is believed: at first, and after many.
const FIRST_FAILURE: Duration = Duration::from_secs(60);
const MOST_FAILURE: Duration = Duration::from_secs(60 * 60);

/// What a server says about where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    /// Where; nothing if it says nothing of use.
    pub(crate) to: Option<OwnedServerName>,
    /// Until when that is believed.
    pub(crate) until: Millis,
    /// How often in a row it said nothing.
    pub(crate) failures: u32,
}

#[derive(Deserialize)]
struct WellKnown {
    #[serde(rename = "m.server")]
    server: OwnedServerName,
}

/// Asks the host for its delegation.
pub(crate) async fn fetch(
    web: &Web,
    server: &ServerName,
    now: Millis,
    failures: u32,
) -> Delegation {
    match ask(web, server).await {
        Ok((to, lifetime)) => Delegation {
            to: Some(to),
            until: now.after(lifetime),
            failures: 0,
        },
        Err(reason) => {
            tracing::debug!(%server, reason, "no delegation");
            let doubled = FIRST_FAILURE.saturating_mul(1 << failures.min(10));
            Delegation {
                to: None,
                until: now.after(doubled.min(MOST_FAILURE)),
                failures: failures.saturating_add(1),
            }
        }
    }
}

async fn ask(web: &Web, server: &ServerName) -> Result<(OwnedServerName, Duration), String> {
    if !web.allows_host(server.host()) {
        return Err("the address is in a private network".to_owned());
    }
    let url = format!("https://{}/.well-known/matrix/server", server.host());
    let response = web
        .well_known()
        .get(url)
        .timeout(PATIENCE)
        .send()
        .await
        .map_err(|e| e.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!("status {}", response.status()));
    }
    let lifetime = lifetime(response.headers());
    let body = collect(response, MAX_BYTES)
        .await
        .map_err(|e| e.to_string())?;
    Ok((delegation(&body)?, lifetime))
}

/// The server that the body of an answer names.
///
/// # Errors
/// What is wrong with it, for people.
pub fn delegation(body: &[u8]) -> Result<OwnedServerName, String> {
    let said: WellKnown = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(said.server)
}

/// How long an answer with these headers is believed: five minutes at least, two days at most.
#[must_use]
pub fn lifetime(headers: &HeaderMap) -> Duration {
    let control = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut said = None;
    for directive in control.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return LEAST;
        }
        let age = directive.strip_prefix("max-age=");
        let age = age.and_then(|age| age.trim_matches('"').parse::<u64>().ok());
        said = age.map(Duration::from_secs).or(said);
    }
    said.unwrap_or(DEFAULT).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn believed(values: &[&str]) -> Duration {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CACHE_CONTROL, value.parse().unwrap());
        }
        lifetime(&headers)
    }

    #[test]
    fn answers_are_believed_as_long_as_they_say_within_bounds() {
        assert_eq!(believed(&[]), DEFAULT);
        assert_eq!(
            believed(&["public, max-age=3600"]),
            Duration::from_secs(3600)
        );
        assert_eq!(
            believed(&["public", "Max-Age=\"7200\""]),
            Duration::from_secs(7200)
        );
        assert_eq!(believed(&["max-age=999999999999"]), MOST);
        assert_eq!(believed(&["max-age=0"]), LEAST);
        assert_eq!(believed(&["no-store, max-age=3600"]), LEAST);
        assert_eq!(believed(&["max-age=soon"]), DEFAULT);
    }
}
