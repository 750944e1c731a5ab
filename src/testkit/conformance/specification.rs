//! All operations of the specification, read from its files. Must never guess: what the files do not say is an error.
//!
//! `endpoints.tsv` lists the operations with the chapter each belongs to; `<api>.json` (OpenAPI 3.1) says what they answer.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{
    Operation,
    operation::{Content, Form},
};

/// Where the files are, unless it is beside the checkout.
const VARIABLE: &str = "HEARTH_SPEC";
/// Beside the checkout, seen from this crate.
const BESIDE: &str = "../../../../shared/spec";
/// The interfaces that a homeserver answers; of the others it is the caller.
const APIS: [&str; 2] = ["client-server", "server-server"];

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// One cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// One is not JSON.
    #[error("{0}: {1}")]
    NotJson(PathBuf, serde_json::Error),
    /// One does not say what it should.
    #[error("{0}: {1}")]
    Unexpected(PathBuf, String),
}

/// The operations that a homeserver answers.
#[derive(Debug)]
pub struct Specification {
    operations: Vec<Operation>,
}

impl Specification {
    /// The one that every test of this process shares; `None` where there are no files.
    ///
    /// # Errors
    /// If there are files and they cannot be used.
    pub fn shared() -> Result<Option<&'static Self>, &'static Failure> {
        static SHARED: OnceLock<Result<Option<Specification>, Failure>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match folder() {
            Some(folder) => Self::read(&folder).map(Some),
            None => Ok(None),
        });
        shared.as_ref().map(Option::as_ref)
    }

    /// Reads the files in `folder`.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let mut operations = Vec::new();
        let (list, rows) = text(folder, "endpoints.tsv")?;
        for api in APIS {
            let (file, text) = text(folder, &format!("{api}.json"))?;
            let document: Value = serde_json::from_str(&text)
                .map_err(|error| Failure::NotJson(file.clone(), error))?;
            let rows = rows
                .lines()
                .filter(|row| row.split('\t').next() == Some(api));
            for row in rows {
                let operation = Operation::read(row, &document)
                    .ok_or_else(|| Failure::Unexpected(list.clone(), row.to_owned()))?;
                operations.push(operation);
            }
        }
        if operations.is_empty() {
            return Err(Failure::Unexpected(list, "no operations".to_owned()));
        }
        Ok(Self { operations })
    }

    /// All of them, in the order of the list.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// How an answer asks for another stage of user-interactive authentication.
    pub(crate) fn interactive(&self) -> Option<&Form> {
        let named = self.operations.iter().filter_map(|it| it.content(401));
        named
            .filter_map(Content::json)
            .find(|form| form.describes("flows"))
    }

    /// The one that a request means, and its place in [`Self::operations`]. `path` is as it was sent, without a query.
    #[must_use]
    pub fn meant(&self, method: &str, path: &str, query: &str, sent: &[u8]) -> Option<usize> {
        let path = path.replacen("/client/r0/", "/client/v3/", 1);
        // An empty last parameter may be left out together with its slash.
        self.find(method, &path, query, sent)
            .or_else(|| self.find(method, &format!("{path}/"), query, sent))
    }

    fn find(&self, method: &str, path: &str, query: &str, sent: &[u8]) -> Option<usize> {
        let fitting = self
            .operations
            .iter()
            .enumerate()
            .filter_map(|(at, operation)| {
                let fit = operation.fit(method, path)?;
                Some((fit, operation.suits(query, sent), at))
            });
        // Of equals the first.
        let best = fitting.max_by_key(|(fit, suits, at)| (*fit, *suits, std::cmp::Reverse(*at)));
        best.map(|(_, _, at)| at)
    }
}

fn folder() -> Option<PathBuf> {
    let folder = match env::var_os(VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(BESIDE),
    };
    folder.join("endpoints.tsv").exists().then_some(folder)
}

#[allow(
    clippy::disallowed_methods,
    reason = "tests read the specification once, before anything is served"
)]
fn text(folder: &Path, name: &str) -> Result<(PathBuf, String), Failure> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(Failure::Unreadable(path, error)),
    }
}
