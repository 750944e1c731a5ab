//! `GET /_matrix/client/v1/mutual_rooms`

use std::collections::BTreeSet;

use hearth_users::Session;
use ruma::{
    OwnedRoomId, UInt,
    api::client::membership::get_mutual_rooms::v1::{Request, Response},
};

use crate::{App, error::Error};

/// Rooms on a page.
const PAGE: usize = 100;

/// The rooms in which both are joined, in the order of their ids. A token is the last room of the page before.
pub(super) async fn get_mutual_rooms(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    if request.user_id == session.user_id {
        return Err(Error::invalid_param("all your rooms are common to you"));
    }
    let view = app.store.view().await?;
    let own: BTreeSet<OwnedRoomId> = app
        .rooms
        .joined_rooms(&view, &session.user_id)
        .await?
        .into_iter()
        .collect();
    let theirs: BTreeSet<OwnedRoomId> = app
        .rooms
        .joined_rooms(&view, &request.user_id)
        .await?
        .into_iter()
        .collect();
    let common: Vec<OwnedRoomId> = own.intersection(&theirs).cloned().collect();
    let count = UInt::try_from(common.len()).unwrap_or(UInt::MAX);
    let mut ahead = common.into_iter().filter(|room| {
        request
            .from
            .as_deref()
            .is_none_or(|from| room.as_str() > from)
    });
    let page: Vec<OwnedRoomId> = ahead.by_ref().take(PAGE).collect();
    let mut response = Response::new(count, page);
    if ahead.next().is_some() {
        response.next_batch = response.joined.last().map(ToString::to_string);
    }
    Ok(response)
}
