//! Owns the step from a token that a client gives to a place in a room. Must never invent a form of its own: pages give
//! places (`rooms`), `/sync` gives positions (`sync`), and both are taken wherever a page starts.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#pagination>

use hearth_rooms::Place;
use hearth_store::{Direction, Position, View};
use hearth_sync::Token;
use ruma::{RoomId, UInt};

use crate::{App, error::Error};

/// The place in `room` that `token` stands for.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a token that this server did not give.
pub(crate) async fn place(
    app: &App,
    view: &View,
    room: &RoomId,
    token: &str,
) -> Result<Place, Error> {
    if let Ok(place) = token.parse::<Place>() {
        return Ok(place);
    }
    let position = sync_position(token)?;
    Ok(app.rooms.place_at(view, room, position).await?)
}

/// As [`place()`], for a token that may be missing.
///
/// # Errors
/// As [`place()`].
pub(crate) async fn place_of(
    app: &App,
    view: &View,
    room: &RoomId,
    token: Option<&String>,
) -> Result<Option<Place>, Error> {
    match token {
        Some(token) => place(app, view, room, token).await.map(Some),
        None => Ok(None),
    }
}

/// The position up to which `token` has seen the log.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a token that this server did not give.
pub(crate) fn position(token: &str) -> Result<Position, Error> {
    match token.parse::<Place>() {
        Ok(place) => Ok(place.position),
        Err(_) => sync_position(token),
    }
}

fn sync_position(token: &str) -> Result<Position, Error> {
    token
        .parse::<Token>()
        .map(|token| token.position)
        .map_err(|_| Error::invalid_param("not a token of this server"))
}

/// The direction of a scan that a client asks for.
pub(crate) fn direction(direction: ruma::api::Direction) -> Direction {
    match direction {
        ruma::api::Direction::Backward => Direction::Backward,
        ruma::api::Direction::Forward => Direction::Forward,
    }
}

/// How many things a client wants on a page: at least one, `most` at most, `usual` if it does not say.
pub(crate) fn limit(asked: Option<UInt>, usual: usize, most: usize) -> usize {
    asked
        .map_or(usual, |limit| {
            usize::try_from(u64::from(limit)).unwrap_or(most)
        })
        .clamp(1, most)
}
