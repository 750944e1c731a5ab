//! `POST /_matrix/client/v3/login`

use hearth_users::{Login, NewDevice};
use ruma::{
    OwnedDeviceId,
    api::{
        IncomingRequest, Metadata,
        client::session::login::v3::{DiscoveryInfo, HomeserverInfo, Request as Named, Response},
        error::{DeserializationError, ErrorKind},
    },
};
use serde::Deserialize;

use crate::{App, error::Error};

/// Read by hand: Ruma's own form takes a missing type for a broken invariant.
#[derive(Deserialize)]
pub(super) struct Request {
    #[serde(rename = "type")]
    kind: String,
    identifier: Option<Identifier>,
    /// How old clients name the user.
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    user: Option<String>,
}

impl Metadata for Request {
    const METHOD: http::Method = Named::METHOD;
    const RATE_LIMITED: bool = Named::RATE_LIMITED;
    type Authentication = <Named as Metadata>::Authentication;
    type PathBuilder = <Named as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Named::PATH_BUILDER;
}

impl IncomingRequest for Request {
    type EndpointError = <Named as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        _: &[&str],
    ) -> Result<Self, DeserializationError> {
        Ok(serde_json::from_slice(request.body())?)
    }
}

pub(super) async fn login(app: App, request: Request) -> Result<Response, Error> {
    let device = NewDevice {
        device_id: request.device_id.clone(),
        display_name: request.initial_device_display_name.clone(),
        refreshable: request.refresh_token,
    };
    let login = match request.kind.as_str() {
        "m.login.password" => by_password(&app, request, &device).await?,
        "m.login.token" => by_token(&app, request, &device).await?,
        _ => {
            return Err(Error::bad_request(
                ErrorKind::Unknown,
                "this kind of login is not offered",
            ));
        }
    };
    let mut response = Response::new(login.user_id, login.access_token, login.device_id);
    response.refresh_token = login.refresh_token;
    response.expires_in = login.expires_in;
    response.well_known = app
        .settings
        .base_url
        .clone()
        .map(|base_url| DiscoveryInfo::new(HomeserverInfo::new(base_url)));
    Ok(response)
}

/// With the token that another device of the user got.
async fn by_token(app: &App, request: Request, device: &NewDevice) -> Result<Login, Error> {
    let token = request
        .token
        .ok_or_else(|| Error::missing_param("a token is needed"))?;
    let user = app
        .users
        .spend_login_token(&token)
        .await?
        .ok_or_else(|| Error::forbidden("the login token is not good"))?;
    Ok(app.users.login_as(&user, device).await?)
}

async fn by_password(app: &App, request: Request, device: &NewDevice) -> Result<Login, Error> {
    let name = match request.identifier {
        Some(identifier) if identifier.kind != "m.id.user" => {
            return Err(Error::forbidden("users are known by their user name alone"));
        }
        Some(identifier) => identifier.user,
        None => request.user,
    };
    let name = name.ok_or_else(|| Error::missing_param("the user is not named"))?;
    let password = request
        .password
        .ok_or_else(|| Error::missing_param("a password is needed"))?;
    // What can be nobody's name is answered like a name that nobody has.
    let user = app
        .users
        .local_user(&name)
        .map_err(|_| Error::forbidden("the user name or the password is wrong"))?;
    Ok(app.users.login(&user, password, device).await?)
}
