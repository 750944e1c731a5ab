//! `POST /_matrix/federation/v1/user/keys/query`

use ruma::{
    OwnedServerName,
    api::federation::keys::get_keys::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn get_keys(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let view = federation.store.view().await?;
    let mut response = Response::new(Default::default());
    for (user, devices) in request.device_keys {
        let wanted = [(user.clone(), devices)].into();
        // As the user's own server says it: with the signatures of its owner alone.
        let keys = federation.users.query_keys(&view, &user, &wanted).await?;
        response.device_keys.extend(keys.device_keys);
        response.master_keys.extend(keys.master_keys);
        response.self_signing_keys.extend(keys.self_signing_keys);
    }
    Ok(response)
}
