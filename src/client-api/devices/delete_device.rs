//! `DELETE /_matrix/client/v3/devices/{deviceId}`

use hearth_users::Session;
use ruma::api::client::device::delete_device::v3::{Request, Response};

use crate::{
    App,
    accounts::interactive::{Interactive, require_password},
    error::Error,
};

pub(super) async fn delete_device(
    app: App,
    session: Session,
    Interactive(request): Interactive<Request>,
) -> Result<Response, Error> {
    let purpose = format!("delete devices {}", request.device_id);
    require_password(&app, &session, request.auth, &purpose).await?;
    super::delete(&app, &session.user_id, &[request.device_id]).await?;
    Ok(Response::new())
}
