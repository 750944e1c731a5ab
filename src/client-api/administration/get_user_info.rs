//! `GET /_matrix/client/v3/admin/whois/{userId}`

use hearth_users::Session;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::admin::get_user_info::v3::{
        ConnectionInfo, DeviceInfo, Request, Response, SessionInfo,
    },
};

use crate::{App, error::Error};

/// Users may ask about themselves, administrators about everybody. Addresses and user agents are not kept, so they are not
/// told.
pub(super) async fn get_user_info(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let user = request.user_id;
    if user != session.user_id && !session.admin {
        return Err(Error::forbidden("only administrators may ask about others"));
    }
    let view = app.store.view().await?;
    if app.users.account(&view, &user).await?.is_none() {
        return Err(Error::not_found("no such user here"));
    }
    let mut response = Response::new();
    for device in app.users.devices(&view, &user).await? {
        let mut connection = ConnectionInfo::new();
        connection.last_seen = UInt::try_from(device.last_seen.0)
            .ok()
            .map(MilliSecondsSinceUnixEpoch);
        let mut connections = SessionInfo::new();
        connections.connections.push(connection);
        let mut info = DeviceInfo::new();
        info.sessions.push(connections);
        response.devices.insert(device.device_id.to_string(), info);
    }
    response.user_id = Some(user);
    Ok(response)
}
