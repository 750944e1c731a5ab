//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`

use hearth_users::Session;
use ruma::api::client::push::set_pushrule_enabled::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn set_pushrule_enabled(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.users
        .change_push_rules(&session.user_id, |rules| {
            Ok(rules.set_enabled(request.kind.clone(), &request.rule_id, request.enabled)?)
        })
        .await?;
    Ok(Response::new())
}
