//! `GET /_matrix/client/v3/pushers`

use hearth_users::Session;
use ruma::api::client::push::get_pushers::v3::Request;
use serde_json::json;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

pub(super) async fn get_pushers(
    app: App,
    session: Session,
    _: Request,
) -> Result<impl Answer, Error> {
    let view = app.store.view().await?;
    let found = app.users.pushers(&view, &session.user_id).await?;
    let pushers: Vec<_> = found.into_iter().map(|record| record.pusher).collect();
    Ok(Json(json!({ "pushers": pushers })))
}
