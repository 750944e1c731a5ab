//! Target: canonical JSON. What is read is what a second reader reads, and is written the same; nothing else is accepted.

use hearth_protocol::{MAX_NESTING, check_content, nesting, parse_object, to_text};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{Outcome, oracle, source::Source};

pub(crate) fn run(source: &Source) -> Outcome {
    let bytes = made_up(source);
    source.tell(|| String::from_utf8_lossy(&bytes).into_owned());
    let expected = oracle::read(&bytes);
    let read = parse_object(&bytes);
    let text = match (&expected, &read) {
        (None, Err(_)) => None,
        (Some((expected, _)), Ok(object)) => {
            let text = to_text(object).map_err(|e| format!("it cannot be written: {e}"))?;
            let wanted = oracle::write(expected);
            if text != wanted {
                return Err(format!("it is written as {text}, not as {wanted}"));
            }
            let again = parse_object(text.as_bytes()).and_then(|again| to_text(&again));
            if again.as_ref() != Ok(&text) {
                return Err(format!("{text} does not come back: {again:?}"));
            }
            Some(text)
        }
        (Some(_), Err(error)) => return Err(format!("it is refused: {error}")),
        (None, Ok(_)) => return Err("it is accepted".to_owned()),
    };
    let deep = nesting(&bytes);
    if let Some((_, depth)) = expected
        && deep != depth
    {
        return Err(format!("it is nested {depth} deep, and said to be {deep}"));
    }
    // As the content of an event, if it is JSON at all.
    if let Ok(raw) = std::str::from_utf8(&bytes).map_err(drop)
        && let Ok(raw) = RawValue::from_string(raw.to_owned())
    {
        let wanted = text.filter(|_| deep <= MAX_NESTING);
        let found = check_content(&raw).and_then(|object| to_text(&object)).ok();
        if found != wanted {
            return Err(format!("as content it gives {found:?}, not {wanted:?}"));
        }
    }
    Ok(read.is_ok())
}

fn made_up(source: &Source) -> Vec<u8> {
    let mut bytes = match source.pick(8) {
        0 => nested(source),
        1 => example(source),
        _ => {
            let mut text = String::new();
            write(source, 4, source.once_in(12), &mut text);
            text.into_bytes()
        }
    };
    if source.once_in(3) {
        source.spoil(&mut bytes);
    }
    bytes
}

/// An example of the specification.
fn example(source: &Source) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Example {
        input: String,
    }
    let text = include_str!("../../protocol/fixtures/canonical_json.json");
    let examples: Vec<Example> = serde_json::from_str(text).unwrap_or_default();
    let chosen = examples.into_iter().nth(source.pick(10));
    chosen.map_or_else(Vec::new, |example| example.input.into_bytes())
}

/// Something near the limits of depth, or far beyond.
fn nested(source: &Source) -> Vec<u8> {
    let depth = match source.pick(4) {
        0 => MAX_NESTING - 2 + source.pick(5),
        1 => 124 + source.pick(8),
        2 => 5_000 + source.pick(3000),
        _ => source.pick(200),
    };
    let (mut open, mut close) = (String::from("{\"a\":"), vec!['}']);
    for _ in 0..depth {
        match source.once_in(2) {
            true => {
                open.push('[');
                close.push(']');
            }
            false => {
                open.push_str("{\"\\\"[\":");
                close.push('}');
            }
        }
    }
    open.push('1');
    open.extend(close.into_iter().rev());
    open.into_bytes()
}

/// Writes a made-up value in one of the many ways in which JSON can be written.
fn write(source: &Source, depth: usize, odd_number: bool, to: &mut String) {
    space(source, to);
    let kinds = if depth == 0 { 4 } else { 7 };
    match if depth == 4 { 6 } else { source.pick(kinds) } {
        0 => to.push_str(["null", "true", "false"][source.pick(3)]),
        1 if odd_number => to.push_str(
            [
                "-0",
                "01",
                "1.0",
                "1e3",
                "1E+2",
                "-",
                "0x1",
                "NaN",
                "1e400",
                "+1",
                ".5",
                "1.",
                "9007199254740992",
                "-9007199254740992",
                "18446744073709551616",
                "-9223372036854775809",
            ][source.pick(16)],
        ),
        1 => to.push_str(&source.integer().to_string()),
        2 | 3 => write_text(source, &source.text(), to),
        4 => {
            to.push('[');
            for count in 0..source.pick(4) {
                if count > 0 {
                    to.push(',');
                }
                write(source, depth - 1, odd_number, to);
            }
            space(source, to);
            to.push(']');
        }
        _ => {
            to.push('{');
            let mut before: Option<String> = None;
            for count in 0..source.pick(5) {
                if count > 0 {
                    to.push(',');
                }
                // Now and then a name that was there before.
                let again = before.take().filter(|_| source.once_in(6));
                let name = again.unwrap_or_else(|| source.name());
                space(source, to);
                write_text(source, &name, to);
                space(source, to);
                to.push(':');
                write(source, depth - 1, odd_number, to);
                before = Some(name);
            }
            space(source, to);
            to.push('}');
        }
    }
    space(source, to);
}

fn space(source: &Source, to: &mut String) {
    if source.once_in(4) {
        to.push_str([" ", "\n", "\t", "\r", "  "][source.pick(5)]);
    }
}

fn write_text(source: &Source, text: &str, to: &mut String) {
    if source.once_in(2) {
        to.push_str(&Value::from(text).to_string());
        return;
    }
    to.push('"');
    for letter in text.chars() {
        if letter < ' ' || letter == '"' || letter == '\\' || source.once_in(3) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                to.push_str(&match source.once_in(2) {
                    true => format!("\\u{unit:04x}"),
                    false => format!("\\u{unit:04X}"),
                });
            }
        } else {
            to.push(letter);
        }
    }
    to.push('"');
}
