//! Why a command cannot be done, said to the operator with the remedy.

/// Why a command cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("the configuration is wrong:\n{0}")]
    Configuration(#[from] hearth_base::config::Problems),
    /// The store fails.
    #[error("{0}")]
    Store(#[from] hearth_store::Error),
    /// The operator must do something else first.
    #[error("{0}")]
    Refused(String),
    /// A file or socket fails.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system says.
        source: std::io::Error,
    },
}

impl Error {
    /// A refusal with its remedy.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }

    /// The operating system says no.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }
}

impl From<hearth_store::CommitError> for Error {
    fn from(error: hearth_store::CommitError) -> Self {
        match error {
            hearth_store::CommitError::Failed(error) => Self::Store(error),
            other @ hearth_store::CommitError::Conflict => Self::refused(other.to_string()),
        }
    }
}
