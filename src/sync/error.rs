//! Owns the reasons for which a sync fails. Must never name an HTTP status: edges translate.

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// `since` is not a token of this server (`M_INVALID_PARAM`).
    #[error(transparent)]
    Token(#[from] crate::NoToken),
    /// The rooms failed.
    #[error(transparent)]
    Rooms(#[from] hearth_rooms::Error),
    /// The users failed.
    #[error(transparent)]
    Users(#[from] hearth_users::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hearth_store::Error),
}
