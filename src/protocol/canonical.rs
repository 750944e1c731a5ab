//! Owns the step from bytes to canonical JSON and the limits on it. Must never accept a number that another server
//! could read differently, and must never recurse deeper than its own limit.
//!
//! Specification: <https://spec.matrix.org/latest/appendices/#canonical-json>

use ruma::{CanonicalJsonObject, CanonicalJsonValue};
use serde_json::{Value, value::RawValue};

use crate::errors::{Fault, Malformed};

/// How deep objects and arrays may be nested in the content of an event. The event itself and the answers that carry it
/// add a few levels, and common parsers stop at 128.
pub const MAX_NESTING: usize = 100;

/// Reads a JSON object and checks that canonical JSON can express it.
///
/// # Errors
/// `NotJson` when the bytes are not JSON, `Format` when they are not an object, `NotCanonical` when a number is a
/// float or beyond ±(2^53 - 1), or when the nesting is too deep.
pub fn parse_object(json: &[u8]) -> Result<CanonicalJsonObject, Malformed> {
    let value: Value = serde_json::from_slice(json).map_err(|error| {
        // The parser of JSON stops at its own recursion limit with a syntax error.
        let fault = if error.to_string().starts_with("recursion limit") {
            Fault::NotCanonical
        } else {
            Fault::NotJson
        };
        Malformed {
            fault,
            reason: error.to_string(),
        }
    })?;
    let Value::Object(map) = value else {
        return Err(Malformed::format("expected an object"));
    };
    let object = ruma::canonical_json::try_from_json_map(map).map_err(Malformed::not_canonical)?;
    Ok(object)
}

/// Checks the content of an event before a client's request goes any further.
///
/// # Errors
/// As [`parse_object`]; and `NotCanonical` when nested deeper than [`MAX_NESTING`].
pub fn check_content(content: &RawValue) -> Result<CanonicalJsonObject, Malformed> {
    // Looked at first, and without recursion, since the parser below recurses.
    if nesting(content.get().as_bytes()) > MAX_NESTING {
        return Err(Malformed::not_canonical(format!(
            "nested deeper than {MAX_NESTING} levels"
        )));
    }
    parse_object(content.get().as_bytes())
}

/// The canonical text of an object: keys sorted, no white space.
///
/// # Errors
/// Never for an object that came from [`parse_object`].
pub fn to_text(object: &CanonicalJsonObject) -> Result<String, Malformed> {
    serde_json::to_string(object).map_err(Malformed::format)
}

/// The text of a field that must be a string.
pub(crate) fn string<'a>(
    object: &'a CanonicalJsonObject,
    field: &str,
) -> Result<&'a str, Malformed> {
    optional_string(object, field)?
        .ok_or_else(|| Malformed::format(format!("`{field}` is missing")))
}

/// The text of a field that must be a string where it is present.
pub(crate) fn optional_string<'a>(
    object: &'a CanonicalJsonObject,
    field: &str,
) -> Result<Option<&'a str>, Malformed> {
    match object.get(field) {
        None => Ok(None),
        Some(CanonicalJsonValue::String(text)) => Ok(Some(text)),
        Some(_) => Err(Malformed::format(format!("`{field}` is not a string"))),
    }
}

/// How deep objects and arrays are nested, brackets in strings not counted; without recursion and without believing that it
/// is JSON, so that it may be asked before a parser is.
#[must_use]
pub fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
