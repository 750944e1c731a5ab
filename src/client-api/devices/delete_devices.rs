//! `POST /_matrix/client/v3/delete_devices`

use hearth_users::Session;
use ruma::api::client::device::delete_devices::v3::{Request, Response};

use crate::{
    App,
    accounts::interactive::{Interactive, require_password},
    error::Error,
};

/// How many devices are deleted in one request.
const MOST: usize = 1_000;

pub(super) async fn delete_devices(
    app: App,
    session: Session,
    Interactive(mut request): Interactive<Request>,
) -> Result<Response, Error> {
    if request.devices.len() > MOST {
        return Err(Error::invalid_param("these are too many devices at a time"));
    }
    request.devices.sort();
    request.devices.dedup();
    let names: Vec<&str> = request
        .devices
        .iter()
        .map(|device| device.as_str())
        .collect();
    let purpose = format!("delete devices {}", names.join(" "));
    require_password(&app, &session, request.auth, &purpose).await?;
    super::delete(&app, &session.user_id, &request.devices).await?;
    Ok(Response::new())
}
