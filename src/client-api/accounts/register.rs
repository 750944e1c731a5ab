//! `POST /_matrix/client/v3/register`

use hearth_users::{Login, NewAccount, NewDevice, Stage};
use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::account::register::{RegistrationKind, v3::Request},
};
use serde::Serialize;

use super::interactive::{self, Interactive};
use crate::{App, Registration, administration::check_name, answer::Json, error::Error};

/// A new account. Ruma's type writes null for the device that is not made, which the specification does not allow.
#[derive(Debug, Serialize)]
pub(super) struct Registered {
    user_id: OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<OwnedDeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u128>,
}

impl Registered {
    fn new(user_id: OwnedUserId, login: Option<Login>) -> Self {
        let mut registered = Self {
            user_id,
            access_token: None,
            device_id: None,
            refresh_token: None,
            expires_in_ms: None,
        };
        if let Some(login) = login {
            registered.access_token = Some(login.access_token);
            registered.device_id = Some(login.device_id);
            registered.refresh_token = login.refresh_token;
            registered.expires_in_ms = login.expires_in.map(|time| time.as_millis());
        }
        registered
    }
}

/// A guest chooses nothing: what else is in the request does not count.
async fn register_guest(app: App, request: Request) -> Result<Json<Registered>, Error> {
    let user_id = app.users.check_name(&app.users.invent_name()).await?;
    let account = NewAccount {
        guest: true,
        ..NewAccount::new(user_id.clone(), None)
    };
    let device = NewDevice {
        device_id: None,
        display_name: request.initial_device_display_name,
        refreshable: false,
    };
    let login = app.users.register(account, Some(device)).await?;
    Ok(Json(Registered::new(user_id, login)))
}

/// A name that cannot be had is refused before anything is asked.
pub(super) async fn register(
    app: App,
    Interactive(request): Interactive<Request>,
) -> Result<Json<Registered>, Error> {
    match request.kind {
        RegistrationKind::User => {}
        RegistrationKind::Guest if app.settings.guests => {
            return register_guest(app, request).await;
        }
        _ => return Err(Error::forbidden("guests are not served here")),
    }
    if request.login_type.is_some() {
        return Err(Error::forbidden(
            "no application service is known by this token",
        ));
    }
    let stage = match app.settings.registration {
        Registration::Closed => return Err(Error::forbidden("registration is closed")),
        Registration::Token => Stage::RegistrationToken,
        Registration::Open => Stage::Dummy,
    };
    let user_id = match &request.username {
        Some(name) => check_name(&app, name).await?,
        None => check_name(&app, &app.users.invent_name()).await?,
    };
    let token = interactive::require(&app, None, &[vec![stage]], request.auth, "register").await?;
    let Some(password) = request.password else {
        return Err(Error::missing_param("a password is needed"));
    };
    let account = NewAccount {
        registration_token: token,
        ..NewAccount::new(user_id.clone(), Some(password))
    };
    let device = (!request.inhibit_login).then_some(NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    });
    let login = app.users.register(account, device).await?;
    Ok(Json(Registered::new(user_id, login)))
}
