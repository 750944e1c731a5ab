//! `POST /_matrix/client/v3/register`

use hearth_users::{NewAccount, NewDevice, Stage};
use ruma::api::client::account::register::{
    RegistrationKind,
    v3::{Request, Response},
};

use super::interactive::{self, Interactive};
use crate::{App, Registration, error::Error};

/// A name that cannot be had is refused before anything is asked.
pub(super) async fn register(
    app: App,
    Interactive(request): Interactive<Request>,
) -> Result<Response, Error> {
    if request.kind != RegistrationKind::User {
        return Err(Error::forbidden("guests are not served here"));
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
        Some(name) => app.users.check_name(name).await?,
        None => app.users.check_name(&app.users.invent_name()).await?,
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
    let mut response = Response::new(user_id);
    if let Some(login) = login {
        response.access_token = Some(login.access_token);
        response.device_id = Some(login.device_id);
        response.refresh_token = login.refresh_token;
        response.expires_in = login.expires_in;
    }
    Ok(response)
}
