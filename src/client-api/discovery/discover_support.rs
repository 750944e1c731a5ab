//! `GET /.well-known/matrix/support`: whom to turn to about this server.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#getwell-knownmatrixsupport>

use axum::{body::Body, response::Response};
use http::request::Parts;
use serde_json::{Map, Value, json};

use crate::{
    App,
    answer::{Answer, Json},
    app::Support,
    error::Error,
};

/// Served without a body limit or a login; 404 where the operator names nobody.
pub(super) async fn discover_support(app: App, _: Parts, _: Body) -> Result<Response, Error> {
    let told = told(&app.settings.support);
    if told.is_empty() {
        return Err(Error::not_found("this server names nobody for support"));
    }
    Json(told).into_http()
}

fn told(support: &Support) -> Map<String, Value> {
    let roles = [
        ("m.role.admin", &support.admin),
        ("m.role.security", &support.security),
    ];
    let contacts = roles.into_iter().filter_map(|(role, who)| {
        let who = who.as_deref()?;
        let way = match who.starts_with('@') {
            true => "matrix_id",
            false => "email_address",
        };
        Some(json!({ "role": role, way: who }))
    });
    let contacts: Vec<Value> = contacts.collect();
    let mut told = Map::new();
    if !contacts.is_empty() {
        told.insert("contacts".to_owned(), contacts.into());
    }
    if let Some(page) = &support.page {
        told.insert("support_page".to_owned(), page.as_str().into());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_told() {
        assert!(told(&Support::default()).is_empty());
        let support = Support {
            page: None,
            admin: Some("@admin:example.org".to_owned()),
            security: Some("security@example.org".to_owned()),
        };
        let contacts = json!([
            { "role": "m.role.admin", "matrix_id": "@admin:example.org" },
            { "role": "m.role.security", "email_address": "security@example.org" },
        ]);
        assert_eq!(Value::from(told(&support)), json!({ "contacts": contacts }));
    }
}
