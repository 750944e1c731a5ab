//! `GET /_matrix/client/v3/profile/{userId}`

use ruma::api::client::profile::get_profile::v3::Request;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

pub(super) async fn get_profile(app: App, request: Request) -> Result<impl Answer, Error> {
    let profile = super::existing(&app, &request.user_id).await?;
    Ok(Json(profile.fields))
}
