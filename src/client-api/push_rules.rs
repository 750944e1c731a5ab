//! What notifies a user, and where.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-notifications>

use hearth_users::Session;
use ruma::push::{AnyPushRule, RuleKind, Ruleset};

use crate::{App, error::Error, routes::Routes};

mod delete_pushrule;
mod get_notifications;
mod get_pushers;
mod get_pushrule;
mod get_pushrule_actions;
mod get_pushrule_enabled;
mod get_pushrules_all;
mod get_pushrules_global_scope;
mod set_pusher;
mod set_pushrule;
mod set_pushrule_actions;
mod set_pushrule_enabled;

/// The endpoints of this chapter. Some clients leave the slash at the end away.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(delete_pushrule::delete_pushrule)
        .user(get_notifications::get_notifications)
        .user(get_pushers::get_pushers)
        .user(get_pushrule::get_pushrule)
        .user(get_pushrule_actions::get_pushrule_actions)
        .user(get_pushrule_enabled::get_pushrule_enabled)
        .user_also(
            &[
                "/_matrix/client/v3/pushrules",
                "/_matrix/client/r0/pushrules",
            ],
            get_pushrules_all::get_pushrules_all,
        )
        .user_also(
            &[
                "/_matrix/client/v3/pushrules/global",
                "/_matrix/client/r0/pushrules/global",
            ],
            get_pushrules_global_scope::get_pushrules_global_scope,
        )
        .user(set_pusher::set_pusher)
        .user(set_pushrule::set_pushrule)
        .user(set_pushrule_actions::set_pushrule_actions)
        .user(set_pushrule_enabled::set_pushrule_enabled)
}

async fn rules(app: &App, session: &Session) -> Result<Ruleset, Error> {
    let view = app.store.view().await?;
    Ok(app.users.push_rules(&view, &session.user_id).await?)
}

async fn rule(
    app: &App,
    session: &Session,
    kind: RuleKind,
    rule_id: &str,
) -> Result<AnyPushRule, Error> {
    let rules = rules(app, session).await?;
    let found = rules.get(kind, rule_id);
    let rule = found.ok_or_else(|| Error::not_found("there is no such push rule"))?;
    Ok(rule.to_owned())
}
