//! `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`

use hearth_users::Session;
use ruma::api::client::push::delete_pushrule::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn delete_pushrule(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.users
        .change_push_rules(&session.user_id, |rules| {
            Ok(rules.remove(request.kind.clone(), &request.rule_id)?)
        })
        .await?;
    Ok(Response::new())
}
