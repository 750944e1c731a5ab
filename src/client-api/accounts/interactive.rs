//! Owns the form of user-interactive authentication on the wire: what a request brings, and the 401 that asks for more. Must
//! never decide what is enough: that is the caller's, and whether it was shown is for `users` to say.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#user-interactive-authentication-api>

use hearth_users::{Answer, Challenge, Outcome, Session, Stage};
use http::StatusCode;
use ruma::{
    UserId,
    api::client::uiaa::{AuthData, UserIdentifier},
    api::{
        IncomingRequest, Metadata, auth_scheme::AuthScheme, error::DeserializationError,
        path_builder::PathBuilder,
    },
};
use serde_json::{Map, Value, json};

use crate::{App, error::Error};

/// Demands that the owner of `session` shows their password before the operation that `purpose` names.
///
/// # Errors
/// The 401 that asks for it.
pub(crate) async fn require_password(
    app: &App,
    session: &Session,
    auth: Option<AuthData>,
    purpose: &str,
) -> Result<(), Error> {
    let flows = [vec![Stage::Password]];
    require(app, Some(&session.user_id), &flows, auth, purpose).await?;
    Ok(())
}

/// Demands that one of `flows` is gone through before the operation that `purpose` names. Returns the registration token
/// that was shown, if one was.
///
/// # Errors
/// The 401 that asks for more.
pub(crate) async fn require(
    app: &App,
    user: Option<&UserId>,
    flows: &[Vec<Stage>],
    auth: Option<AuthData>,
    purpose: &str,
) -> Result<Option<String>, Error> {
    let session = auth.as_ref().and_then(AuthData::session).map(str::to_owned);
    let answer = auth.map(answer);
    let outcome = app
        .users
        .interact(purpose, user, flows, session.as_deref(), answer)
        .await?;
    match outcome {
        Outcome::Passed { registration_token } => Ok(registration_token),
        Outcome::Asked(challenge) => Err(ask(challenge)),
    }
}

fn answer(auth: AuthData) -> Answer {
    match auth {
        AuthData::Dummy(_) => Answer::Dummy,
        AuthData::Password(known) => match known.identifier {
            UserIdentifier::Matrix(named) => Answer::Password {
                user: named.user,
                password: known.password,
            },
            _ => Answer::Unknown,
        },
        AuthData::RegistrationToken(shown) => Answer::RegistrationToken(shown.token),
        AuthData::FallbackAcknowledgement(_) => Answer::Acknowledged,
        _ => Answer::Unknown,
    }
}

fn ask(challenge: Challenge) -> Error {
    let names = |stages: &[Stage]| -> Vec<&str> { stages.iter().map(|s| s.as_str()).collect() };
    let flows: Vec<Value> = challenge
        .flows
        .iter()
        .map(|stages| json!({ "stages": names(stages) }))
        .collect();
    let mut body = json!({
        "session": challenge.session,
        "flows": flows,
        "params": {},
        "completed": names(&challenge.completed),
    });
    if let Some(refusal) = challenge.refusal {
        body["errcode"] = "M_FORBIDDEN".into();
        body["error"] = refusal.to_string().into();
    }
    Error::with_body(StatusCode::UNAUTHORIZED, body)
}

/// A request that carries `auth`, read with the patience that old clients need: they name the user of a password without an
/// identifier.
pub(crate) struct Interactive<T>(pub(crate) T);

impl<T: Metadata> Metadata for Interactive<T>
where
    T::Authentication: AuthScheme,
    T::PathBuilder: PathBuilder,
{
    const METHOD: http::Method = T::METHOD;
    const RATE_LIMITED: bool = T::RATE_LIMITED;
    type Authentication = T::Authentication;
    type PathBuilder = T::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = T::PATH_BUILDER;
}

impl<T: IncomingRequest> IncomingRequest for Interactive<T> {
    type EndpointError = T::EndpointError;
    type OutgoingResponse = T::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let (parts, body) = request.into_parts();
        // An absent body asks what is needed.
        let body = if body.is_empty() { b"{}" } else { body };
        let amended = amend(body)?;
        let body = amended.as_deref().unwrap_or(body);
        let request = http::Request::from_parts(parts, body);
        T::try_from_http_request_inner(request, path_args).map(Self)
    }
}

/// The body with an identifier in its `auth`, if it has a user there instead.
fn amend(body: &[u8]) -> Result<Option<Vec<u8>>, serde_json::Error> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body)?;
    let Some(Value::Object(auth)) = fields.get_mut("auth") else {
        return Ok(None);
    };
    if auth.contains_key("identifier") {
        return Ok(None);
    }
    let Some(Value::String(user)) = auth.remove("user") else {
        return Ok(None);
    };
    auth.insert(
        "identifier".to_owned(),
        json!({ "type": "m.id.user", "user": user }),
    );
    serde_json::to_vec(&fields).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::amend;

    #[test]
    fn an_old_form_of_a_password_gets_an_identifier() {
        let body = br#"{"auth":{"type":"m.login.password","user":"alice","password":"x"}}"#;
        let amended: Value = serde_json::from_slice(&amend(body).unwrap().unwrap()).unwrap();
        assert_eq!(amended["auth"]["identifier"]["user"], "alice");
        assert_eq!(
            amend(br#"{"auth":{"type":"m.login.dummy"}}"#).unwrap(),
            None
        );
    }
}
