//! `GET /_matrix/federation/v1/user/devices/{userId}`

use std::collections::BTreeMap;

use ruma::{
    OwnedServerName, UInt,
    api::federation::device::get_devices::v1::{Request, Response, UserDevice},
};

use crate::{Error, Federation};

pub(super) async fn get_devices(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let user = request.user_id;
    if !federation.rooms.is_local(&user) {
        return Err(Error::invalid_param("the user is not one of this server"));
    }
    let view = federation.store.view().await?;
    if federation.users.account(&view, &user).await?.is_none() {
        return Err(Error::not_found("there is no such user"));
    }
    let wanted = BTreeMap::from([(user.clone(), Vec::new())]);
    let mut keys = federation.users.query_keys(&view, &user, &wanted).await?;
    let mut device_keys = keys.device_keys.remove(&user).unwrap_or_default();
    let stream_id = UInt::try_from(view.position().0).unwrap_or(UInt::MAX);
    let mut response = Response::new(user.clone(), stream_id);
    for device in federation.users.devices(&view, &user).await? {
        // A device without keys cannot be written to.
        let Some(keys) = device_keys.remove(&device.device_id) else {
            continue;
        };
        let mut shown = UserDevice::new(device.device_id, keys);
        shown.device_display_name = device.display_name;
        response.devices.push(shown);
    }
    response.master_key = keys.master_keys.remove(&user);
    response.self_signing_key = keys.self_signing_keys.remove(&user);
    Ok(response)
}
