//! Tells those who run the server what it noticed by itself, each in the room in which they get notices. Owns who they are. Must
//! never stop at one who cannot be told.

use hearth_rooms::NewEvent;
use ruma::{OwnedUserId, UserId};
use serde_json::{json, value::to_raw_value};

use super::notices;
use crate::{App, error::Error};

/// How many administrators are told.
const MAX_TOLD: usize = 50;

/// How many accounts are looked at together.
const TOGETHER: usize = 1_000;

/// Sends a notice to every administrator of the server; gives how many were told.
///
/// # Errors
/// For people, if it cannot be found out who they are, or the server has no user to speak as. That one of them cannot be told is
/// logged.
pub async fn tell_administrators(app: &App, text: &str) -> Result<usize, String> {
    let failed = |error: Error| format!("{error:?}");
    let administrators = administrators(app).await.map_err(failed)?;
    if administrators.is_empty() {
        return Ok(0);
    }
    let sender = notices::sender(app).await.map_err(failed)?;
    let mut told = 0;
    for user in administrators {
        match tell(app, &sender, &user, text).await {
            Ok(()) => told += 1,
            Err(error) => tracing::warn!(%user, ?error, "an administrator cannot be told"),
        }
    }
    Ok(told)
}

async fn administrators(app: &App) -> Result<Vec<OwnedUserId>, Error> {
    let view = app.store.view().await?;
    let (mut found, mut after) = (Vec::new(), None::<OwnedUserId>);
    loop {
        let page = app
            .users
            .accounts(&view, after.as_deref(), TOGETHER)
            .await?;
        let is_last = page.len() < TOGETHER;
        after = page.last().map(|(user, _)| user.clone());
        let active = page
            .into_iter()
            .filter(|(_, account)| account.admin && !account.deactivated);
        found.extend(active.map(|(user, _)| user));
        if is_last || found.len() >= MAX_TOLD {
            found.truncate(MAX_TOLD);
            return Ok(found);
        }
    }
}

async fn tell(app: &App, sender: &UserId, user: &UserId, text: &str) -> Result<(), Error> {
    let room = notices::room(app, sender, user).await?;
    let content = to_raw_value(&json!({ "msgtype": "m.text", "body": text }));
    let content = content.map_err(|error| Error::internal(&error))?;
    let event = NewEvent::message(room, sender.to_owned(), "m.room.message", content);
    app.rooms.send(event).await?;
    Ok(())
}
