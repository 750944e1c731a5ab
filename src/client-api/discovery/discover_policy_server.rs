//! `GET /.well-known/matrix/policy_server`: the key to name in `m.room.policy`.

use ruma::api::client::discovery::discover_policy_server::{Request, Response};

use crate::{App, error::Error};

/// 404 where this server is no policy server.
pub(super) async fn discover_policy_server(app: App, _: Request) -> Result<Response, Error> {
    let key = app.rooms.policy_key();
    key.map(Response::new)
        .ok_or_else(|| Error::not_found("this server is no policy server"))
}
