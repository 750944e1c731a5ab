//! `GET /_matrix/client/v3/pushrules/global/`

use hearth_users::Session;
use ruma::api::client::push::get_pushrules_global_scope::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn get_pushrules_global_scope(
    app: App,
    session: Session,
    _: Request,
) -> Result<Response, Error> {
    Ok(Response::new(super::rules(&app, &session).await?))
}
