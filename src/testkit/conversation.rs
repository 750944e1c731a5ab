//! A conversation out of tables: who asks what, with which body, and what of the answer is kept for later requests.
//!
//! Owns the form of the tables. Must never decide what an answer should look like: the specification does.

use std::collections::BTreeMap;

use hearth_testkit::Server;
use reqwest::Method;
use serde_json::Value;

pub(crate) mod accounts;
pub(crate) mod encryption;
pub(crate) mod events;
pub(crate) mod rooms;
pub(crate) mod settings;

/// Who asks (nobody: empty); method and path below `/_matrix/client/v3`, or a whole path, with another status than a success
/// before it if one is expected; the body as JSON, if there is one; what is kept, as `name=/place/in/the/answer`.
///
/// `<name>` stands for what was kept under that name, in paths percent-encoded. Whoever asks does so with `<who.token>`.
pub(crate) type Step = (&'static str, &'static str, &'static str, &'static str);

/// A server and what was kept of its answers.
pub(crate) struct Conversation<'a> {
    server: &'a Server,
    kept: BTreeMap<String, String>,
}

impl<'a> Conversation<'a> {
    /// One that begins with the server's name kept under `server`.
    pub(crate) fn new(server: &'a Server) -> Self {
        let name = server.config().server.name.to_string();
        let kept = BTreeMap::from([("server".to_owned(), name)]);
        Self { server, kept }
    }

    /// Goes through the steps in their order. Each must be answered with the status that it expects.
    pub(crate) async fn hold(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step).await;
        }
    }

    async fn step(&mut self, (who, request, body, keep): &Step) {
        let mut words = request.split(' ');
        let mut word = words.next().unwrap();
        let expected: Option<u16> = word.parse().ok();
        if expected.is_some() {
            word = words.next().unwrap();
        }
        let method: Method = word.parse().unwrap();
        let path = self.filled(words.next().unwrap(), percent_encoded);
        let path = match path.starts_with("/_matrix") || path.starts_with("/.well-known") {
            true => path,
            false => format!("/_matrix/client/v3{path}"),
        };
        let body: Value = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&self.filled(body, json_escaped))
                .unwrap_or_else(|error| panic!("{request}: {error}")),
        };
        let token = self.kept.get(&format!("{who}.token"));
        assert!(who.is_empty() || token.is_some(), "{who} has no token");
        let asked = self
            .server
            .call(method, &path, token.map(String::as_str), &body);
        let (status, answer) = asked.await.unwrap();
        let as_expected = match expected {
            Some(expected) => status == expected,
            None => (200..300).contains(&status),
        };
        assert!(as_expected, "{who}: {request}: {status} {answer}");
        for pair in keep.split_whitespace() {
            let (name, place) = pair.split_once('=').unwrap();
            let value = answer.pointer(place);
            let value = value.unwrap_or_else(|| panic!("{request}: no {place} in {answer}"));
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            self.kept.insert(name.to_owned(), text);
        }
    }

    fn filled(&self, text: &str, written: fn(&str) -> String) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            let (name, after) = after.split_once('>').unwrap();
            let value = self.kept.get(name);
            let value = value.unwrap_or_else(|| panic!("{text}: nothing is kept under {name}"));
            filled.push_str(before);
            filled.push_str(&written(value));
            rest = after;
        }
        filled + rest
    }
}

fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
