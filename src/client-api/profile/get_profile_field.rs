//! `GET /_matrix/client/v3/profile/{userId}/{keyName}`

use ruma::api::client::profile::get_profile_field::v3::Request;
use serde_json::Map;

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// A name or avatar that was never set is an empty object, as clients have come to expect; other fields are not found.
pub(super) async fn get_profile_field(app: App, request: Request) -> Result<impl Answer, Error> {
    let field = request.field.as_str();
    let mut profile = super::existing(&app, &request.user_id).await?;
    match profile.fields.remove(field) {
        Some(value) => Ok(Json(Map::from_iter([(field.to_owned(), value)]))),
        None if matches!(field, "displayname" | "avatar_url") => Ok(Json(Map::new())),
        None => Err(Error::not_found("the user has not set this")),
    }
}
