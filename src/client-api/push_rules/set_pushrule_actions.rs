//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`

use hearth_users::Session;
use ruma::api::client::push::set_pushrule_actions::v3::{Request, Response};

use crate::{App, error::Error};

pub(super) async fn set_pushrule_actions(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    app.users
        .change_push_rules(&session.user_id, |rules| {
            let (kind, actions) = (request.kind.clone(), request.actions.clone());
            Ok(rules.set_actions(kind, &request.rule_id, actions)?)
        })
        .await?;
    Ok(Response::new())
}
