//! `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`

use hearth_users::Session;
use ruma::api::client::filter::get_filter::v3::Request;

use crate::{
    App,
    account_data::check_owner,
    answer::{Answer, Json},
    error::Error,
};

pub(super) async fn get_filter(
    app: App,
    session: Session,
    request: Request,
) -> Result<impl Answer, Error> {
    check_owner(&session, &request.user_id)?;
    let view = app.store.view().await?;
    let found = app
        .users
        .filter(&view, &session.user_id, &request.filter_id)
        .await?;
    let filter = found.ok_or_else(|| Error::not_found("there is no such filter"))?;
    Ok(Json(filter))
}
