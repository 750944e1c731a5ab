//! `POST /_matrix/client/v3/account/3pid/unbind`

use hearth_users::Session;
use ruma::api::client::account::{
    ThirdPartyIdRemovalStatus,
    unbind_3pid::v3::{Request, Response},
};

use crate::{App, error::Error};

/// There is no identity server to tell.
pub(super) async fn unbind_3pid(_: App, _: Session, _: Request) -> Result<Response, Error> {
    Ok(Response::new(ThirdPartyIdRemovalStatus::NoSupport))
}
