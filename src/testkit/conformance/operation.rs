//! One operation: how its requests look, and what it answers. Must never decide what to do about a wrong answer.

use std::{collections::BTreeMap, sync::OnceLock};

use jsonschema::Validator;
use serde_json::Value;

use crate::format;

/// An operation of the specification.
#[derive(Debug)]
pub struct Operation {
    api: String,
    method: String,
    path: String,
    name: String,
    chapter: String,
    deprecated: bool,
    open: bool,
    answers: BTreeMap<u16, Content>,
}

/// What an answer with some status carries.
#[derive(Debug)]
pub(crate) enum Content {
    /// JSON of this form.
    Json(Box<Form>),
    /// Something that is not described further, or nothing.
    Other,
}

impl Content {
    pub(crate) fn json(&self) -> Option<&Form> {
        match self {
            Self::Json(form) => Some(form),
            Self::Other => None,
        }
    }
}

/// A schema that is compiled when it is first needed.
#[derive(Debug)]
pub(crate) struct Form {
    schema: Value,
    compiled: OnceLock<Result<Validator, String>>,
}

impl Form {
    fn new(mut schema: Value) -> Self {
        let compiled = OnceLock::new();
        relax(&mut schema);
        Self { schema, compiled }
    }

    /// Whether it says something about a field of that name.
    pub(crate) fn describes(&self, field: &str) -> bool {
        self.schema["properties"].get(field).is_some()
    }

    /// What is wrong with `body`: the place in it and the reason, for each fault.
    pub(crate) fn faults(&self, body: &Value) -> Vec<(String, String)> {
        let compiled = self.compiled.get_or_init(|| {
            let build = format::options().build(&self.schema);
            build.map_err(|error| error.to_string())
        });
        match compiled {
            Ok(validator) => validator
                .iter_errors(body)
                .map(|error| (error.instance_path().to_string(), error.to_string()))
                .collect(),
            Err(error) => vec![(String::new(), format!("the schema cannot be used: {error}"))],
        }
    }
}

/// Where the specification lists alternatives, an answer that fits several is as good as one that fits one: the form of an
/// event is also a form of its content, which may be any object. And algorithms are for clients to choose: newer ones than
/// the specification names go through.
fn relax(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(alternatives @ Value::Array(_)) = fields.remove("oneOf") {
                fields.insert("anyOf".to_owned(), alternatives);
            }
            if let Some(Value::Object(algorithm)) = fields.get_mut("algorithm") {
                algorithm.remove("enum");
            }
            fields.values_mut().for_each(relax);
        }
        Value::Array(items) => items.iter_mut().for_each(relax),
        _ => {}
    }
}

impl Operation {
    /// Reads a row of the list and what `document` says about it.
    pub(crate) fn read(row: &str, document: &Value) -> Option<Self> {
        let columns: Vec<&str> = row.split('\t').collect();
        let [
            api,
            method,
            path,
            name,
            auth,
            _limited,
            deprecated,
            _statuses,
            chapter,
            ..,
        ] = columns[..]
        else {
            return None;
        };
        let described = &document["paths"][path][method.to_ascii_lowercase()]["responses"];
        let mut answers = BTreeMap::new();
        for (status, described) in described.as_object()? {
            let content = &described["content"]["application/json"]["schema"];
            let content = match content {
                Value::Null => Content::Other,
                schema => Content::Json(Box::new(Form::new(schema.clone()))),
            };
            answers.insert(status.parse().ok()?, content);
        }
        let owned = |text: &str| text.to_owned();
        Some(Self {
            api: owned(api),
            method: owned(method),
            // Two operations at one path differ by a space at its end.
            path: owned(path.trim_end()),
            name: owned(name),
            chapter: owned(chapter),
            deprecated: deprecated == "deprecated",
            open: auth == "open",
            answers,
        })
    }

    /// The interface: `client-server` or `server-server`.
    #[must_use]
    pub fn api(&self) -> &str {
        &self.api
    }

    /// In capitals.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// With `{…}` in place of each parameter.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The specification's identifier of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The chapter it stands in; empty where the files name none.
    #[must_use]
    pub fn chapter(&self) -> &str {
        &self.chapter
    }

    /// Whether clients should no longer use it.
    #[must_use]
    pub fn deprecated(&self) -> bool {
        self.deprecated
    }

    /// Whether it needs no login.
    #[must_use]
    pub fn open(&self) -> bool {
        self.open
    }

    /// What an answer with `status` carries; `None`: the specification names no such answer.
    pub(crate) fn content(&self, status: u16) -> Option<&Content> {
        self.answers.get(&status)
    }

    /// How well a request fits: the number of path segments that are the same word for word.
    pub(crate) fn fit(&self, method: &str, path: &str) -> Option<usize> {
        if method != self.method {
            return None;
        }
        let (mut template, mut sent) = (self.path.split('/'), path.split('/'));
        let mut same = 0;
        loop {
            match (template.next(), sent.next()) {
                (None, None) => return Some(same),
                (Some(expected), Some(found)) if expected == found => same += 1,
                (Some(expected), Some(_)) if expected.starts_with('{') => {}
                _ => return None,
            }
        }
    }

    /// Whether a request is more likely to mean this operation than another at the same path. Two pairs share one.
    pub(crate) fn suits(&self, query: &str, sent: &[u8]) -> bool {
        let named = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
        let body = || serde_json::from_slice::<Value>(sent).unwrap_or_default();
        match self.name.as_str() {
            "peekEvents" => named("room_id="),
            "getEvents" => !named("room_id="),
            "inviteBy3PID" => body().get("medium").is_some(),
            "inviteUser" => body().get("medium").is_none(),
            _ => true,
        }
    }
}
