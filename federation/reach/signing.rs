//! Owns the signature of requests between servers: the object that is signed and the header that carries it. Must never
//! decide whose key is right.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#request-authentication>

use hearth_protocol::{Malformed, SigningKey, parse_object, to_text};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, ServerName};

/// A request as it is signed. `uri` is path and query as they go over the wire; `content` is the body, absent where there
/// is none.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// For example `PUT`.
    pub method: &'a str,
    /// Path and query.
    pub uri: &'a str,
    /// Who asks.
    pub origin: &'a ServerName,
    /// Who is asked.
    pub destination: &'a ServerName,
    /// The body.
    pub content: Option<&'a [u8]>,
}

impl Signed<'_> {
    /// The object whose canonical form is signed.
    ///
    /// # Errors
    /// `Malformed` when the content is not canonical JSON, which cannot be signed.
    pub fn object(&self) -> Result<CanonicalJsonObject, Malformed> {
        let mut object: CanonicalJsonObject = [
            ("method", self.method),
            ("uri", self.uri),
            ("origin", self.origin.as_str()),
            ("destination", self.destination.as_str()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
        if let Some(content) = self.content {
            let content = CanonicalJsonValue::Object(parse_object(content)?);
            object.insert("content".to_owned(), content);
        }
        Ok(object)
    }

    /// The value of the `Authorization` header.
    ///
    /// # Errors
    /// As [`Signed::object`].
    pub fn header(&self, key: &SigningKey) -> Result<String, Malformed> {
        let signature = key.sign_bytes(to_text(&self.object()?)?.as_bytes());
        Ok(format!(
            r#"X-Matrix origin="{}",destination="{}",key="{}",sig="{signature}""#,
            self.origin,
            self.destination,
            key.id(),
        ))
    }
}
