//! The verdict on one answer. Must never let an answer pass because it is an error: errors have a form too.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#standard-error-response>

use serde_json::{Value, value::RawValue};

use crate::{Operation, Specification, operation::Content};

/// Characters of a reason: it may quote the whole answer.
const LONGEST_REASON: usize = 300;

/// A request and its answer, as they went over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// In capitals.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The request's body.
    pub sent: &'a [u8],
    /// Of the answer.
    pub status: u16,
    /// Of the answer, if it says so.
    pub content_type: Option<&'a str>,
    /// The answer's body.
    pub body: &'a [u8],
}

/// What an answer is worth.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The operation, as a place in [`Specification::operations`].
    pub operation: usize,
    /// What is wrong, a sentence for each fault.
    pub faults: Vec<String>,
}

impl Specification {
    /// Judges an answer; `None` if the request means no operation of the specification.
    #[must_use]
    pub fn judge(&self, exchange: &Exchange<'_>) -> Option<Judgement> {
        let (path, query) = exchange
            .target
            .split_once('?')
            .unwrap_or((exchange.target, ""));
        let at = self.meant(exchange.method, path, query, exchange.sent)?;
        let operation = &self.operations()[at];
        let told = |(place, reason): (String, String)| {
            let (method, status) = (exchange.method, exchange.status);
            let (name, path) = (operation.name(), operation.path());
            let place = if place.is_empty() { "/" } else { &place };
            let reason: String = reason.chars().take(LONGEST_REASON).collect();
            format!("{name} ({method} {path}) {status}: at {place}: {reason}")
        };
        let faults = self.faults(operation, exchange);
        let faults = faults.into_iter().map(told).collect();
        Some(Judgement {
            operation: at,
            faults,
        })
    }

    fn faults(&self, operation: &Operation, exchange: &Exchange<'_>) -> Vec<(String, String)> {
        let whole = |reason: &str| vec![(String::new(), reason.to_owned())];
        let content = operation.content(exchange.status);
        let form = match content {
            Some(Content::Json(form)) => Some(form),
            Some(Content::Other) if exchange.status < 400 => return Vec::new(),
            None if exchange.status < 400 => return whole("the specification has no such status"),
            _ => None,
        };
        if !exchange
            .content_type
            .is_some_and(|kind| kind.starts_with("application/json"))
        {
            return whole("it is not declared as application/json");
        }
        let body = match serde_json::from_slice::<Value>(exchange.body) {
            Ok(body) => body,
            // Numbers that are kept for a client as it wrote them may be beyond what can be read here.
            Err(_) if serde_json::from_slice::<&RawValue>(exchange.body).is_ok() => {
                return Vec::new();
            }
            Err(_) => return whole("it is not JSON"),
        };
        let faults = form.map(|form| form.faults(&body)).unwrap_or_default();
        if exchange.status < 400 {
            return faults;
        }
        // The specification does not name user-interactive authentication at every operation that may ask for it.
        if exchange.status == 401 {
            return match (body.get("flows"), self.interactive()) {
                (Some(_), Some(form)) => form.faults(&body),
                _ => error_faults(&body),
            };
        }
        [faults, error_faults(&body)].concat()
    }
}

/// What keeps `body` from being a standard error.
fn error_faults(body: &Value) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let code = body["errcode"].as_str().unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if code.is_empty() || !code.bytes().all(allowed) {
        faults.push(("/errcode".to_owned(), format!("{code:?} is no errcode")));
    }
    if !body["error"].is_string() {
        let reason = "an error has a sentence for people".to_owned();
        faults.push(("/error".to_owned(), reason));
    }
    faults
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// What is wrong with an answer; nothing where there is no specification.
    fn faults(request: &str, status: u16, body: &Value) -> Option<Vec<String>> {
        let specification = Specification::shared().unwrap()?;
        let (method, target) = request.split_once(' ').unwrap();
        let judgement = specification.judge(&Exchange {
            method,
            target,
            sent: &[],
            status,
            content_type: Some("application/json"),
            body: body.to_string().as_bytes(),
        });
        Some(judgement.unwrap().faults)
    }

    fn wrong(request: &str, status: u16, body: &Value, place: &str) {
        if let Some(faults) = faults(request, status, body) {
            let at = format!("at {place}:");
            assert!(faults.iter().any(|fault| fault.contains(&at)), "{faults:?}");
        }
    }

    fn right(request: &str, status: u16, body: &Value) {
        assert_eq!(faults(request, status, body).unwrap_or_default(), [""; 0]);
    }

    const JOIN: &str = "POST /_matrix/client/v3/join/%23tea:example.org?via=example.org";
    const ROOMS: &str = "GET /_matrix/client/v3/joined_rooms";
    const STATE: &str = "GET /_matrix/client/v3/rooms/%21a/state/m.room.name";

    #[test]
    fn right_answers_pass() {
        right(
            JOIN,
            200,
            &json!({ "room_id": "!a:example.org", "more": null }),
        );
        right(ROOMS, 200, &json!({ "joined_rooms": ["!a"] }));
        right(STATE, 200, &json!({ "name": "tea" }));
        right(
            ROOMS,
            401,
            &json!({ "errcode": "M_MISSING_TOKEN", "error": "who?" }),
        );
        right(
            "DELETE /_matrix/client/v3/devices/A",
            401,
            &json!({ "flows": [{ "stages": ["m.login.dummy"] }], "params": {}, "session": "a" }),
        );
    }

    #[test]
    fn wrong_answers_do_not() {
        wrong(JOIN, 200, &json!({}), "/");
        wrong(JOIN, 200, &json!({ "room_id": null }), "/room_id");
        wrong(JOIN, 302, &json!({ "room_id": "!a" }), "/");
        wrong(
            ROOMS,
            200,
            &json!({ "joined_rooms": ["a room"] }),
            "/joined_rooms/0",
        );
        wrong(STATE, 200, &json!([]), "/");
        wrong(JOIN, 400, &json!({ "errcode": "M_UNKNOWN" }), "/error");
        wrong(JOIN, 400, &json!({ "error": "no" }), "/errcode");
        wrong(JOIN, 401, &json!({ "flows": [{}] }), "/flows/0");
    }

    #[test]
    fn the_kind_of_an_answer_counts() {
        let Some(specification) = Specification::shared().unwrap() else {
            return;
        };
        let mut exchange = Exchange {
            method: "GET",
            target: "/_matrix/client/r0/joined_rooms",
            sent: &[],
            status: 200,
            content_type: Some("text/plain"),
            body: br#"{"joined_rooms":[]}"#,
        };
        assert_eq!(specification.judge(&exchange).unwrap().faults.len(), 1);
        exchange.content_type = Some("application/json; charset=utf-8");
        assert!(specification.judge(&exchange).unwrap().faults.is_empty());
        exchange.body = b"no";
        assert_eq!(specification.judge(&exchange).unwrap().faults.len(), 1);
        exchange.target = "/health";
        assert!(specification.judge(&exchange).is_none());
    }
}
