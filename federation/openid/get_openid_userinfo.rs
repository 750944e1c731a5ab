//! `GET /_matrix/federation/v1/openid/userinfo`

use http::StatusCode;
use ruma::api::federation::openid::get_openid_userinfo::v1::{Request, Response};

use crate::{Error, Federation};

pub(super) async fn get_openid_userinfo(
    federation: Federation,
    request: Request,
) -> Result<Response, Error> {
    let user = federation.users.openid_user(&request.access_token).await?;
    user.map(Response::new).ok_or_else(|| {
        let message = "the token is not known, or no longer good";
        Error::new(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN", message)
    })
}
