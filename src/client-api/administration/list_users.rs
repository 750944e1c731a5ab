//! `GET /_synapse/admin/v2/users`, documented at
//! <https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html>.

use axum::{body::Body, response::Response};
use http::request::Parts;
use ruma::OwnedUserId;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::call::Call;
use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

/// Users in an answer, if the caller does not say, and at most.
const USUAL: usize = 100;
const MOST: usize = 1000;
/// Accounts that are looked at in one scan.
const SCAN: usize = 1000;

/// All users, or those whose name holds a text, in the order of their names.
pub(super) async fn list_users(app: App, parts: Parts, body: Body) -> Result<Response, Error> {
    let call = Call::<Option<IgnoredAny>>::read(&app, parts, body).await?;
    let number = |name: &str| call.query(name).map(str::parse::<usize>).transpose();
    let wrong = |_| Error::invalid_param("from and limit are numbers");
    let from = number("from").map_err(wrong)?.unwrap_or(0);
    let limit = number("limit").map_err(wrong)?.unwrap_or(USUAL);
    let limit = limit.clamp(1, MOST);
    let term = call.query("name").or(call.query("user_id"));
    let term = term.unwrap_or_default().to_lowercase();
    let closed_too = call.query("deactivated") == Some("true");
    let admins = call.query("admins").map(|wanted| wanted == "true");

    let view = app.store.view().await?;
    let (mut total, mut users) = (0, Vec::new());
    let mut after: Option<OwnedUserId> = None;
    loop {
        let page = app.users.accounts(&view, after.as_deref(), SCAN).await?;
        for (user, account) in &page {
            let wanted = (closed_too || !account.deactivated)
                && admins.is_none_or(|admins| admins == account.admin)
                && user.localpart().contains(&term);
            if !wanted {
                continue;
            }
            if total >= from && users.len() < limit {
                let mut shown = super::user::shown(&app, &view, user, account).await?;
                // Here, and only here, it is in milliseconds.
                shown["creation_ts"] = account.created.0.into();
                users.push(shown);
            }
            total += 1;
        }
        if page.len() < SCAN {
            break;
        }
        after = page.into_iter().next_back().map(|(user, _)| user);
    }
    let mut answer = json!({ "users": users, "total": total });
    if from + limit < total {
        answer["next_token"] = Value::from((from + limit).to_string());
    }
    Json(answer).into_http()
}
