//! `GET` and `POST /_synapse/admin/v1/register`: registration with the operator's shared secret, in the form that Synapse has
//! made common. Documented at <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>.

use axum::{body::Body, response::Response};
use hearth_users::{NewAccount, NewDevice};
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::json;
use sha1::Sha1;

use crate::{
    App,
    administration::check_name,
    answer::{Answer, Json},
    error::Error,
};

const MAX_BODY_BYTES: usize = 16_384;

/// What is asked for, authenticated by `mac`.
#[derive(Deserialize)]
struct Request {
    nonce: String,
    username: String,
    #[serde(default)]
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    /// A further field of the code, where the caller sends it.
    #[serde(default)]
    user_type: Option<String>,
    /// HMAC-SHA1 in hexadecimal.
    mac: String,
    #[serde(default)]
    inhibit_login: bool,
}

/// A nonce that the next request has to be authenticated with.
pub(super) async fn get_nonce(app: App, _: Parts, _: Body) -> Result<Response, Error> {
    secret(&app)?;
    let nonce = app.users.issue_nonce().await?;
    Json(json!({ "nonce": nonce })).into_http()
}

/// Makes the account and logs it in.
pub(super) async fn register(app: App, _: Parts, body: Body) -> Result<Response, Error> {
    let secret = secret(&app)?.to_owned();
    let body = Limited::new(body, MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(|_| Error::too_large("the request body is too long"))?
        .to_bytes();
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            return Error::bad_json(error.to_string());
        }
        Error::not_json(error.to_string())
    })?;
    let given =
        unhex(&request.mac).ok_or_else(|| Error::forbidden("the mac is not hexadecimal"))?;
    if !is_authentic(&secret, &request, &given) {
        return Err(Error::forbidden("the mac is not the expected one"));
    }
    if !app.users.spend_nonce(&request.nonce).await? {
        return Err(Error::bad_request(
            ruma::api::error::ErrorKind::Unknown,
            "the nonce is not known",
        ));
    }
    let user_id = check_name(&app, &request.username).await?;
    let account = NewAccount {
        admin: request.admin,
        displayname: request.displayname,
        ..NewAccount::new(user_id.clone(), Some(request.password))
    };
    let device = (!request.inhibit_login).then(NewDevice::default);
    let login = app.users.register(account, device).await?;
    let server = &app.settings.server_name;
    let answer = match login {
        Some(login) => json!({
            "user_id": user_id, "home_server": server,
            "access_token": login.access_token, "device_id": login.device_id,
        }),
        None => json!({ "user_id": user_id, "home_server": server }),
    };
    Json(answer).into_http()
}

fn secret(app: &App) -> Result<&str, Error> {
    let secret = app.settings.registration_shared_secret.as_deref();
    secret
        .filter(|secret| !secret.is_empty())
        .ok_or_else(|| Error::forbidden("no shared secret is configured"))
}

/// Compares in constant time.
fn is_authentic(secret: &str, request: &Request, given: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    let admin = if request.admin { "admin" } else { "notadmin" };
    let mut fields = vec![
        &*request.nonce,
        &*request.username,
        &*request.password,
        admin,
    ];
    fields.extend(request.user_type.as_deref());
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            mac.update(b"\0");
        }
        mac.update(field.as_bytes());
    }
    mac.verify_slice(given).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| u8::try_from(c.to_digit(16)?).ok())
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}
