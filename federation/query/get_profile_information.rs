//! `GET /_matrix/federation/v1/query/profile`

use ruma::{
    OwnedServerName,
    api::federation::query::get_profile_information::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn get_profile_information(
    federation: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    if !federation.rooms.is_local(&request.user_id) {
        return Err(Error::invalid_param("the user is not one of this server"));
    }
    let view = federation.store.view().await?;
    let account = federation.users.account(&view, &request.user_id).await?;
    if account.is_none_or(|account| account.deactivated) {
        return Err(Error::not_found("there is no such user"));
    }
    let profile = federation.users.profile(&view, &request.user_id).await?;
    let wanted = request.field.map(|field| field.to_string());
    Ok(profile
        .fields
        .into_iter()
        .filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name))
        .collect())
}
