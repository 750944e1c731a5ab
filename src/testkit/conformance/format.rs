//! The forms of strings and numbers that the specification names beside those of JSON Schema. Must never be stricter than
//! the specification's appendices: identifiers of old rooms and users may hold nearly anything.
//!
//! Specification: <https://spec.matrix.org/latest/appendices/#identifier-grammar>

use jsonschema::{Draft, ValidationOptions};

/// The longest identifier in bytes.
const LONGEST: usize = 255;

/// How every schema of the specification is read: OpenAPI 3.1 uses JSON Schema of 2020-12.
pub(crate) fn options() -> ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .with_format("mx-user-id", |text: &str| named(text, '@'))
        .with_format("mx-room-alias", |text: &str| named(text, '#'))
        // Since version 12 of rooms an id needs no server's name.
        .with_format("mx-room-id", |text: &str| identifier(text, '!'))
        .with_format("mx-event-id", |text: &str| identifier(text, '$'))
        .with_format("mx-server-name", server)
        .with_format("mx-mxc-uri", |text: &str| {
            let rest = text
                .strip_prefix("mxc://")
                .and_then(|rest| rest.split_once('/'));
            rest.is_some_and(|(name, media)| server(name) && !media.is_empty())
        })
        .with_format("mx-unpadded-base64", |text: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
            text.bytes().all(allowed)
        })
}

fn identifier(text: &str, sigil: char) -> bool {
    text.len() <= LONGEST && text.len() > 1 && text.starts_with(sigil) && !text.contains('\0')
}

fn named(text: &str, sigil: char) -> bool {
    identifier(text, sigil) && text.split_once(':').is_some_and(|(_, name)| server(name))
}

fn server(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
