//! `POST /_matrix/client/v3/account/3pid/delete`

use hearth_users::Session;
use ruma::api::client::account::{
    ThirdPartyIdRemovalStatus,
    delete_3pid::v3::{Request, Response},
};

use crate::{App, error::Error};

/// There is nothing to take away, and no identity server to tell.
pub(super) async fn delete_3pid(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Ok(Response::new(ThirdPartyIdRemovalStatus::NoSupport))
}
