//! A hundred thousand requests out of a seed: whatever comes in, nothing panics and nothing is answered with 500.

use std::fmt::Write as _;

use bytes::Bytes;
use hearth_base::{Rng, SeededRng};
use http::Method;
use serde_json::json;

use super::server::Server;
use crate::route_table;

const REQUESTS: usize = 100_000;
const SEED: u64 = 0x48_65_61_72_74_68;

/// Things that stand where an identifier, a type or a number should; the first ones are replaced by real ones.
const SEGMENTS: [&str; 18] = [
    "%21nowhere:example.org",
    "%24nothing",
    "@alice:example.org",
    "%23tea:example.org",
    "m.room.message",
    "m.room.member",
    "m.read",
    "1",
    "",
    "%00",
    "%FF%FE",
    "%F0%9F%98%80",
    "..%2F..",
    "m.push_rules",
    "global",
    "ed25519:x",
    "-1",
    "999999999999999999999999",
];

const QUERIES: [&str; 12] = [
    "dir=b&limit=5",
    "dir=f&from=t0_0",
    "dir=b&limit=-1",
    "from=h1_0_0&to=t1_1&dir=b",
    "timeout=0&since=nonsense",
    "timeout=0&filter=%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A1%7D%7D%7D",
    "timeout=0&filter=0&full_state=true",
    "ts=1&dir=f",
    "limit=99999999999999999999",
    "membership=join&not_membership=%FF",
    "%FF=%FF&&&=",
    "version=1&format=event&recurse=true&limit=0",
];

const WORDS: [&str; 30] = [
    "room_id",
    "user_id",
    "type",
    "content",
    "state_key",
    "membership",
    "event_id",
    "reason",
    "auth",
    "session",
    "username",
    "password",
    "device_id",
    "device_keys",
    "one_time_keys",
    "messages",
    "rooms",
    "filter",
    "limit",
    "preset",
    "invite",
    "initial_state",
    "m.relates_to",
    "rel_type",
    "m.fully_read",
    "typing",
    "timeout",
    "displayname",
    "algorithm",
    "auth_data",
];

const LEAVES: [&str; 14] = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e400",
    "9007199254740993",
    "\"\"",
    "\"@alice:example.org\"",
    "\"m.room.message\"",
    "\"\\u0000\\ud83d\\ude00\"",
    "\"join\"",
    "{}",
    "[]",
];

struct Generator {
    rng: SeededRng,
    routes: Vec<(Method, String)>,
    room: String,
    event: String,
}

impl Generator {
    fn below(&self, n: usize) -> usize {
        usize::try_from(self.rng.number() % n as u64).unwrap()
    }

    fn pick<'a>(&self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn path(&self, route: &str) -> String {
        let mut path = String::new();
        for segment in route.split('/').skip(1) {
            let filled = match segment.starts_with('{') {
                false => segment.to_owned(),
                true => match self.below(4) {
                    0 => self.room.clone(),
                    1 => self.event.clone(),
                    _ => self.pick(&SEGMENTS).to_owned(),
                },
            };
            write!(path, "/{filled}").unwrap();
        }
        // A sync that waits would only show that it waits.
        let query = match self.below(3) {
            0 if !path.ends_with("/sync") => String::new(),
            _ => format!("?{}", self.pick(&QUERIES)),
        };
        match path.ends_with("/sync") && !query.contains("timeout") {
            true => format!("{path}?timeout=0"),
            false => path + &query,
        }
    }

    fn json(&self, depth: usize) -> String {
        let size = self.below(4);
        match self.below(if depth == 0 { 1 } else { 3 }) {
            0 => self.pick(&LEAVES).to_owned(),
            1 => {
                let items: Vec<_> = (0..size).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(","))
            }
            _ => self.object(depth),
        }
    }

    fn object(&self, depth: usize) -> String {
        let fields: Vec<_> = (0..self.below(6))
            .map(|_| {
                format!(
                    "\"{}\":{}",
                    self.pick(&WORDS),
                    self.json(depth.saturating_sub(1))
                )
            })
            .collect();
        format!("{{{}}}", fields.join(","))
    }

    fn body(&self) -> Bytes {
        let mut body = match self.below(8) {
            0 => Vec::new(),
            1 => self.json(3).into_bytes(),
            _ => self.object(4).into_bytes(),
        };
        // Now and then a byte is wrong, or the end is missing.
        if !body.is_empty() && self.below(6) == 0 {
            let at = self.below(body.len());
            match self.below(2) {
                0 => body[at] = self.rng.number().to_be_bytes()[0],
                _ => body.truncate(at),
            }
        }
        body.into()
    }
}

/// Paths that would end the session that the test lives on.
fn ends_the_session(path: &str) -> bool {
    ["logout", "deactivate", "delete_devices", "account/password"]
        .iter()
        .any(|word| path.contains(word))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_comes_in_fails_inside() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.room(json!({ "preset": "public_chat" })).await;
    let event = alice.say(&room, "1", "hello").await;
    let generator = Generator {
        rng: SeededRng::new(SEED),
        routes: route_table(),
        room,
        event,
    };
    for number in 0..REQUESTS {
        let (method, route) = &generator.routes[generator.below(generator.routes.len())];
        let path = generator.path(route);
        let method = match generator.below(50) {
            0 => Method::PATCH,
            _ => method.clone(),
        };
        let known = generator.below(10) > 0 && !ends_the_session(route);
        let token = known.then_some(alice.token.as_str());
        let body = generator.body();
        let told = String::from_utf8_lossy(&body).into_owned();
        let answer = server.raw(method.clone(), &path, token, body).await;
        let status = answer.status.as_u16();
        assert!(
            status < 500,
            "request {number} of seed {SEED}: {method} {path} {told}: {answer:?}"
        );
    }
    alice.get("/joined_rooms").await.ok();
}
