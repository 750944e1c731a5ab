//! Device keys, one-time keys, cross-signing.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#key-management-api>

use hearth_rooms::signal_device_change;
use hearth_store::{Batch, CommitError, Position, View};
use ruma::UserId;

use crate::{App, error::Error, routes::Routes};

mod claim_keys;
mod get_key_changes;
mod get_keys;
mod known_keys;
mod upload_keys;
mod upload_signatures;
mod upload_signing_keys;

pub(crate) use known_keys::KnownKeys;

/// How often a change of keys is planned again when others were faster.
const ATTEMPTS: usize = 16;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(claim_keys::claim_keys)
        .user(get_key_changes::get_key_changes)
        .user(get_keys::get_keys)
        .user(upload_keys::upload_keys)
        .user(upload_signatures::upload_signatures)
        .user(upload_signing_keys::upload_signing_keys)
}

/// Tells, as part of `batch`, everybody who shares a room with `user` that their devices or keys changed.
pub(crate) async fn signal_rooms(
    app: &App,
    view: &View,
    batch: &mut Batch,
    user: &UserId,
) -> Result<(), Error> {
    let rooms = app.rooms.joined_rooms(view, user).await?;
    Ok(signal_device_change(view, batch, &rooms, user).await?)
}

/// Commits a planned change; nothing after a conflict, upon which the caller plans again.
async fn commit(app: &App, batch: Batch) -> Result<Option<Position>, Error> {
    match app.store.commit(batch).await {
        Ok(committed) => Ok(Some(committed.last())),
        Err(CommitError::Conflict) => Ok(None),
        Err(CommitError::Failed(error)) => Err(error.into()),
    }
}

/// The answer when others were faster each time.
fn busy() -> Error {
    Error::unavailable(&"the keys of the user change too fast")
}
