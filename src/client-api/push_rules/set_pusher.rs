//! `POST /_matrix/client/v3/pushers/set`

use hearth_users::Session;
use ruma::api::client::push::{
    PusherKind,
    set_pusher::v3::{PusherAction, Request, Response},
};
use serde_json::value::to_raw_value;

use crate::{App, error::Error};

/// Keeps the address or forgets it.
pub(super) async fn set_pusher(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    match request.action {
        PusherAction::Post(post) => {
            if let PusherKind::Http(http) = &post.pusher.kind
                && !http.url.starts_with("https://")
                && !http.url.starts_with("http://")
            {
                return Err(Error::invalid_param(
                    "the address of the pusher must be an http(s) URL",
                ));
            }
            let ids = &post.pusher.ids;
            let record = to_raw_value(&post.pusher).map_err(|error| Error::internal(&error))?;
            app.users
                .set_pusher(&session, &ids.app_id, &ids.pushkey, &record, post.append)
                .await?;
        }
        PusherAction::Delete(ids) => {
            app.users
                .delete_pusher(&session.user_id, &ids.app_id, &ids.pushkey)
                .await?;
        }
        _ => return Err(Error::invalid_param("this cannot be done with a pusher")),
    }
    Ok(Response::new())
}
