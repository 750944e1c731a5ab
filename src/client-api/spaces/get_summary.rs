//! `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`

use hearth_users::Session;
use ruma::{
    api::client::room::get_summary::v1::{Request, Response},
    events::room::member::MembershipState,
};

use super::may_preview;
use crate::{App, error::Error, room_directory::resolve, summary};

/// A room that the caller may not know of is not told apart from one that does not exist.
pub(super) async fn get_summary(
    app: App,
    session: Option<Session>,
    request: Request,
) -> Result<Response, Error> {
    let (room, _) = resolve(&app, &request.room_id_or_alias).await?;
    let view = app.store.view().await?;
    let user = session.as_ref().map(|session| &*session.user_id);
    let unknown = || Error::not_found("no such room, or not for you");
    let summary = summary::summary(&app, &view, &room)
        .await?
        .ok_or_else(unknown)?;
    if !may_preview(&app, &view, user, &summary).await? {
        return Err(unknown());
    }
    let mut response = Response::new(summary);
    if let Some(user) = user {
        let member = app.rooms.membership(&view, user, &room).await?;
        response.membership = Some(member.map_or(MembershipState::Leave, |member| {
            MembershipState::from(member.membership.as_str())
        }));
    }
    Ok(response)
}
