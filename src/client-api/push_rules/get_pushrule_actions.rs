//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`

use hearth_users::Session;
use ruma::api::client::push::{
    PushRule,
    get_pushrule_actions::v3::{Request, Response},
};

use crate::{App, error::Error};

pub(super) async fn get_pushrule_actions(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let rule = super::rule(&app, &session, request.kind, &request.rule_id).await?;
    Ok(Response::new(PushRule::from(rule).actions))
}
