//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`

use hearth_users::Session;
use ruma::api::client::push::set_pushrule::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn set_pushrule(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let (after, before) = (request.after.as_deref(), request.before.as_deref());
    app.users
        .change_push_rules(&session.user_id, |rules| {
            Ok(rules.insert(request.rule.clone(), after, before)?)
        })
        .await?;
    Ok(Response::new())
}
