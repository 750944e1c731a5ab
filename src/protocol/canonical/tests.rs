#![allow(clippy::unwrap_used, clippy::panic)]

use serde::Deserialize;

use super::*;
use crate::scenario;

/// The examples of the appendices.
#[derive(Deserialize)]
struct Example {
    input: String,
    canonical: String,
}

#[test]
fn the_examples_of_the_appendices_come_out_as_written() {
    let examples: Vec<Example> = scenario::read(include_str!("../fixtures/canonical_json.json"));
    assert_eq!(examples.len(), 10);
    for Example { input, canonical } in examples {
        let result = parse_object(input.as_bytes());
        if input.contains("1e10") {
            // The example shows how an encoder writes such numbers. In events they are refused, as other servers do.
            assert_eq!(result.unwrap_err().fault, Fault::NotCanonical, "{input}");
        } else {
            assert_eq!(to_text(&result.unwrap()).unwrap(), canonical);
        }
    }
}

#[test]
fn control_characters_are_escaped_in_the_shortest_form() {
    let object = parse_object(
        r#"{"a":"\u0008\u0009\u000a\u000c\u000d\u0022\u005c\u0000\u001f\u007f\/"}"#.as_bytes(),
    );
    assert_eq!(
        to_text(&object.unwrap()).unwrap(),
        "{\"a\":\"\\b\\t\\n\\f\\r\\\"\\\\\\u0000\\u001f\u{7f}/\"}"
    );
}

#[test]
fn numbers_stay_within_what_every_server_reads_alike() {
    let edge = format!(r#"{{"a":{},"b":{}}}"#, (1_i64 << 53) - 1, 1 - (1_i64 << 53));
    assert_eq!(
        to_text(&parse_object(edge.as_bytes()).unwrap()).unwrap(),
        edge
    );
    for number in [
        "9007199254740992",
        "-9007199254740992",
        "1.0",
        "1e3",
        "-0",
        "0.5",
        "18446744073709551616",
        "1e400",
    ] {
        let result = parse_object(format!(r#"{{"a":[{number}]}}"#).as_bytes());
        let fault = result.unwrap_err().fault;
        let expected = if number == "1e400" {
            Fault::NotJson
        } else {
            Fault::NotCanonical
        };
        assert_eq!(fault, expected, "{number}");
    }
}

#[test]
fn what_is_not_an_object_is_told_apart_from_what_is_not_json() {
    for text in [
        "",
        "{",
        "{\"a\"}",
        "{\"a\":\"\\ud800\"}",
        "{}x",
        "\u{feff}{}",
    ] {
        assert_eq!(
            parse_object(text.as_bytes()).unwrap_err().fault,
            Fault::NotJson,
            "{text:?}"
        );
    }
    assert_eq!(
        parse_object(b"{\"a\":\"\xff\"}").unwrap_err().fault,
        Fault::NotJson
    );
    for text in ["[]", "1", "\"a\"", "null"] {
        assert_eq!(
            parse_object(text.as_bytes()).unwrap_err().fault,
            Fault::Format,
            "{text:?}"
        );
    }
}

#[test]
fn nesting_is_limited_without_recursion() {
    let nested = |levels: usize| {
        let text = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        );
        RawValue::from_string(text).unwrap()
    };
    assert!(check_content(&nested(MAX_NESTING)).is_ok());
    assert_eq!(
        check_content(&nested(MAX_NESTING + 1)).unwrap_err().fault,
        Fault::NotCanonical
    );
    assert_eq!(
        check_content(&nested(100_000)).unwrap_err().fault,
        Fault::NotCanonical
    );
    assert_eq!(
        parse_object(nested(100_000).get().as_bytes())
            .unwrap_err()
            .fault,
        Fault::NotCanonical
    );
    // Brackets in strings do not count.
    let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(MAX_NESTING + 1));
    assert!(check_content(&RawValue::from_string(text).unwrap()).is_ok());
}
