//! `PUT /_matrix/client/v3/presence/{userId}/status`

use hearth_users::{Availability, Session};
use ruma::api::client::presence::set_presence::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn set_presence(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    if request.user_id != session.user_id {
        return Err(Error::forbidden(
            "users say only of themselves whether they are there",
        ));
    }
    let availability = Availability::parse(request.presence.as_str())
        .ok_or_else(|| Error::invalid_param("there is no such presence"))?;
    let (user, device) = (&session.user_id, &session.device_id);
    app.users
        .set_presence(user, device, availability, request.status_msg)
        .await?;
    Ok(Response::new())
}
