//! `GET /_matrix/client/v3/voip/turnServer`

use hearth_users::Session;
use ruma::api::client::voip::get_turn_server_info::v3::{Request, Response};

use crate::{App, error::Error};

/// There is no relay for calls. An answer would have to name one.
pub(super) async fn get_turn_server_info(
    _: App,
    _: Session,
    _: Request,
) -> Result<Response, Error> {
    Err(Error::not_found("this server has no relay for calls"))
}
