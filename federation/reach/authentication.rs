//! Owns the check of who sends a request: the `X-Matrix` header, the destination in it, the signature. Must never let a
//! request through whose sender is not proven.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#request-authentication>

use hearth_protocol::verify_json;
use http::{header, request::Parts};
use ruma::{CanonicalJsonObject, OwnedServerName};

use super::{Peers, keyring::Wanted, signing::Signed, x_matrix::XMatrix};
use crate::error::Error;

/// How many `Authorization` headers of a request are looked at: one for each key of the sender.
const MAX_HEADERS: usize = 4;

/// The longest header.
const MAX_HEADER: usize = 4096;

impl Peers {
    /// The server that sent the request.
    ///
    /// # Errors
    /// 401 when it is not proven, 403 when the operator does not allow it.
    pub(crate) async fn authenticate(
        &self,
        parts: &Parts,
        body: &[u8],
    ) -> Result<OwnedServerName, Error> {
        let claims = claims(parts)?;
        let mut failure = Error::unauthorized("the request is not signed");
        for claim in claims {
            if self.0.settings.deny.denies(&claim.origin) {
                return Err(Error::forbidden("this server does not speak with yours"));
            }
            match self.proven(&claim, parts, body).await {
                Ok(()) => {
                    if self.0.destinations.heard(&claim.origin).await {
                        self.tell_news(&claim.origin);
                    }
                    return Ok(claim.origin);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn proven(&self, claim: &XMatrix, parts: &Parts, body: &[u8]) -> Result<(), Error> {
        let own = &self.0.settings.server_name;
        if claim
            .destination
            .as_ref()
            .is_some_and(|destination| destination != own)
        {
            return Err(Error::unauthorized(
                "the request is meant for another server",
            ));
        }
        if claim.origin == *own {
            return Err(Error::unauthorized("this server does not ask itself"));
        }
        let signed = Signed {
            method: parts.method.as_str(),
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            origin: &claim.origin,
            destination: own,
            content: (!body.is_empty()).then_some(body),
        };
        let mut object = signed
            .object()
            .map_err(|e| Error::not_json(e.to_string()))?;
        let signature =
            CanonicalJsonObject::from([(claim.key.to_string(), claim.sig.encode().into())]);
        let signatures = CanonicalJsonObject::from([(claim.origin.to_string(), signature.into())]);
        object.insert("signatures".to_owned(), signatures.into());
        self.forget_pause(&claim.origin);
        let now = self.0.clock.now();
        let wanted = Wanted::from([(claim.origin.clone(), [(claim.key.clone(), now)].into())]);
        let keys = self.keys(&wanted).await?;
        verify_json(&object, &claim.origin, &keys).map_err(|error| {
            tracing::debug!(origin = %claim.origin, %error, "a request is not proven");
            Error::unauthorized("the signature of the request does not hold")
        })
    }
}

/// What the headers say about the sender.
fn claims(parts: &Parts) -> Result<Vec<XMatrix>, Error> {
    let mut claims = Vec::new();
    for value in parts
        .headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .take(MAX_HEADERS)
    {
        let text = value
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_HEADER)
            .ok_or_else(|| Error::unauthorized("the Authorization header cannot be read"))?;
        let claim = XMatrix::parse(text)
            .map_err(|e| Error::unauthorized(format!("the Authorization header: {e}")))?;
        claims.push(claim);
    }
    if claims.is_empty() {
        return Err(Error::unauthorized("the Authorization header is missing"));
    }
    Ok(claims)
}

#[cfg(test)]
mod tests;
