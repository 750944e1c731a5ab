//! Which answers are not what they were. Must never leave anything out but by name, and say why.

use std::fmt;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use crate::{Failure, caller::Caller, questions::Asked};

/// How many questions are asked at once.
const AT_ONCE: usize = 4;

/// How many differences are told.
const TOLD: usize = 10;

/// How much is told of two values that differ.
const SHOWN: usize = 160;

/// What rightly differs between two answers to one question: the field, whether only beside events for servers, and why.
const LEFT_OUT: [(&str, bool, &str); 4] = [
    (
        "age",
        false,
        "how long ago an event was, when it is asked for",
    ),
    (
        "last_seen_ts",
        false,
        "when a device last asked for something: it just did",
    ),
    (
        "last_seen",
        false,
        "the same, as it is told to administrators",
    ),
    ("origin_server_ts", true, "when a server answered another"),
];

/// How many answers were the same.
pub(crate) struct Compared {
    pub(crate) all: usize,
    pub(crate) different: usize,
    bytes: usize,
    left_out: [usize; LEFT_OUT.len()],
    /// The first ones, in words.
    told: Vec<String>,
}

impl Compared {
    pub(crate) fn is_same(&self) -> bool {
        self.different == 0 && self.all > 0
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = self.all - self.different;
        let kilobytes = self.bytes / 1000;
        write!(
            f,
            "{same} of {} answers are the same, {kilobytes} kB",
            self.all
        )?;
        for ((name, _, why), times) in LEFT_OUT.iter().zip(self.left_out) {
            write!(f, "\n  left out {times} times: {name}, {why}")?;
        }
        self.told
            .iter()
            .try_for_each(|line| write!(f, "\n  differs: {line}"))
    }
}

/// Asks everything again.
pub(crate) async fn again(caller: &Caller, asked: &[Asked]) -> Result<Compared, Failure> {
    let asking = stream::iter(asked).map(|old| async move {
        let answered = caller.ask(
            old.method.clone(),
            &old.path,
            &old.credentials,
            &old.question,
        );
        Ok::<_, Failure>((old, answered.await?))
    });
    let answered: Vec<_> = asking.buffered(AT_ONCE).try_collect().await?;
    let mut compared = Compared {
        all: answered.len(),
        different: 0,
        bytes: 0,
        left_out: [0; LEFT_OUT.len()],
        told: Vec::new(),
    };
    for (old, (status, body)) in answered {
        compared.bytes += body.len();
        let found = match status == old.status {
            true => difference(&old.body, &body, &mut compared.left_out),
            false => Some(format!("{} became {status}: {}", old.status, cut(&body))),
        };
        let Some(found) = found else { continue };
        compared.different += 1;
        if compared.told.len() < TOLD {
            compared
                .told
                .push(format!("{} {}: {found}", old.method, old.path));
        }
    }
    Ok(compared)
}

/// Where two bodies first differ.
fn difference(old: &str, new: &str, left_out: &mut [usize; LEFT_OUT.len()]) -> Option<String> {
    if let (Ok(mut old), Ok(mut new)) = (serde_json::from_str(old), serde_json::from_str(new)) {
        leave_out(&mut old, &mut [0; LEFT_OUT.len()]);
        leave_out(&mut new, left_out);
        return first(&old, &new, "");
    }
    (old != new).then(|| format!("{} became {}", cut(old), cut(new)))
}

fn leave_out(value: &mut Value, times: &mut [usize; LEFT_OUT.len()]) {
    match value {
        Value::Object(fields) => {
            let has_events = fields.contains_key("pdus");
            let named = LEFT_OUT.iter().zip(&mut *times);
            for ((name, beside, _), times) in named {
                if *beside && !has_events {
                    continue;
                }
                // Whether it is there is compared.
                if let Some(field) = fields.get_mut(*name).filter(|field| field.is_number()) {
                    *field = Value::Null;
                    *times += 1;
                }
            }
            fields
                .values_mut()
                .for_each(|field| leave_out(field, times));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| leave_out(item, times)),
        _ => {}
    }
}

/// The first place at which two values differ, and both there.
fn first(old: &Value, new: &Value, at: &str) -> Option<String> {
    match (old, new) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            let mut pairs = one.iter().zip(other.values());
            pairs.find_map(|((name, old), new)| first(old, new, &format!("{at}/{name}")))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(number, (old, new))| first(old, new, &format!("{at}/{number}")))
        }
        _ if old == new => None,
        _ => {
            let (old, new) = (old.to_string(), new.to_string());
            Some(format!("at {at} {} became {}", cut(&old), cut(&new)))
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
