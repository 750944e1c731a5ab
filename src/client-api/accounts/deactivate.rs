//! `POST /_matrix/client/v3/account/deactivate`

use hearth_rooms::{Act, MemberChange, Membership};
use hearth_store::Batch;
use hearth_users::Session;
use ruma::{
    UserId,
    api::client::account::{
        ThirdPartyIdRemovalStatus,
        deactivate::v3::{Request, Response},
    },
};

use super::interactive::{Interactive, require_password};
use crate::{App, devices, error::Error};

/// Leaves all rooms, then closes the account.
pub(super) async fn deactivate(
    app: App,
    session: Option<Session>,
    Interactive(request): Interactive<Request>,
) -> Result<Response, Error> {
    let session = session.ok_or_else(|| Error::missing_token("an access token is needed"))?;
    require_password(&app, &session, request.auth, "deactivate").await?;
    close(&app, &session.user_id, request.erase).await?;
    Ok(Response::new(ThirdPartyIdRemovalStatus::Success))
}

/// Leaves all rooms of `user`, then closes the account for good.
///
/// # Errors
/// 404 or 403 for a user who is not there any more.
pub(crate) async fn close(app: &App, user: &UserId, erase: bool) -> Result<(), Error> {
    leave_all(app, user).await?;
    for _ in 0..devices::ATTEMPTS {
        let view = app.store.view().await?;
        let mut batch = Batch::new();
        app.users
            .plan_deactivation(&view, &mut batch, user, erase)
            .await?;
        if devices::commit(app, &view, batch, user).await? {
            return Ok(());
        }
    }
    Err(devices::busy())
}

/// Leaves, rejects and takes back. A room that does not let go is no reason to keep the account.
async fn leave_all(app: &App, user: &UserId) -> Result<(), Error> {
    let view = app.store.view().await?;
    for (room, member) in app.rooms.rooms_of(&view, user).await? {
        if matches!(member.membership, Membership::Leave | Membership::Ban) {
            continue;
        }
        let change = MemberChange::own(room.clone(), user.to_owned(), Act::Leave);
        if let Err(error) = app.rooms.change_membership(change).await {
            tracing::warn!(%error, %room, "a deactivated user could not leave a room");
        }
    }
    Ok(())
}
