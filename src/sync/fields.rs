//! Owns leaving out the fields of events that a client did not ask for (`event_fields`). Must never leave out what makes an
//! event one: its type, its id and its state key, without which no client could place it.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#filtering>

use serde_json::{Map, Value};

/// How many fields of a filter count.
const MAX_FIELDS: usize = 64;

/// What is always shown.
const KEPT: [&str; 5] = [
    "type",
    "event_id",
    "sender",
    "origin_server_ts",
    "state_key",
];

/// The fields that a client asked for, as paths.
#[derive(Clone, Debug)]
pub(crate) struct Fields(Vec<Vec<String>>);

impl Fields {
    /// From `event_fields`: names joined by dots, in which a backslash takes a dot or backslash as it is.
    pub(crate) fn of(fields: &[String]) -> Self {
        Self(
            fields
                .iter()
                .take(MAX_FIELDS)
                .map(|field| path(field))
                .collect(),
        )
    }

    /// The event with these fields alone.
    pub(crate) fn pick(&self, event: &Value) -> Value {
        let mut shown = Map::new();
        for name in KEPT {
            if let Some(value) = event.get(name) {
                shown.insert(name.to_owned(), value.clone());
            }
        }
        for path in &self.0 {
            copy(event, path, &mut shown);
        }
        Value::Object(shown)
    }
}

fn path(field: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut escaped = false;
    for letter in field.chars() {
        match letter {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '.' if !escaped => names.push(String::new()),
            _ => {
                if let Some(name) = names.last_mut() {
                    if escaped && !matches!(letter, '.' | '\\') {
                        name.push('\\');
                    }
                    name.push(letter);
                }
            }
        }
        escaped = false;
    }
    names
}

fn copy(from: &Value, path: &[String], to: &mut Map<String, Value>) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    let Some(value) = from.get(name) else {
        return;
    };
    if rest.is_empty() {
        to.insert(name.clone(), value.clone());
        return;
    }
    if !value.is_object() {
        return;
    }
    let inner = to
        .entry(name.clone())
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        copy(value, rest, inner);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Fields;

    #[test]
    fn paths_pick_fields() {
        let event = json!({
            "type": "m.room.message", "sender": "@a:b", "unsigned": { "age": 1 },
            "content": { "body": "hi", "m.relates_to": { "event_id": "$x" }, "other": 1 }
        });
        let fields = Fields::of(&[
            "content.body".into(),
            r"content.m\.relates_to".into(),
            "no.such".into(),
        ]);
        assert_eq!(
            fields.pick(&event),
            json!({
                "type": "m.room.message", "sender": "@a:b",
                "content": { "body": "hi", "m.relates_to": { "event_id": "$x" } }
            })
        );
    }
}
