//! `POST /_matrix/federation/v1/user/keys/claim`

use ruma::{
    OwnedServerName,
    api::federation::keys::claim_keys::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn claim_keys(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let mut wanted = request.one_time_keys;
    wanted.retain(|user, _| federation.rooms.is_local(user));
    Ok(Response::new(federation.users.claim_keys(&wanted).await?))
}
