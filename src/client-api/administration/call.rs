//! Owns the form of what administrators ask under `/_synapse/admin`: who asks, the parts of the path, the query, the body.
//! Must never let anybody else through, nor say what is wrong with the body of one who is none.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, Query, RawPathParams},
};
use hearth_users::Session;
use http::request::Parts;
use ruma::OwnedUserId;
use serde::de::DeserializeOwned;

use crate::{App, error::Error, extract};

/// A request of an administrator.
pub(super) struct Call<T> {
    /// Who asks.
    pub(super) session: Session,
    /// The body.
    pub(super) body: T,
    arguments: Vec<Arc<str>>,
    query: HashMap<String, String>,
}

impl<T: DeserializeOwned> Call<T> {
    /// Reads the request.
    ///
    /// # Errors
    /// 401 without a login, 403 for one that is no administrator's, 400 for a body that is not a `T`.
    pub(super) async fn read(app: &App, mut parts: Parts, body: Body) -> Result<Self, Error> {
        let session = extract::session(app, &parts)
            .await?
            .ok_or_else(|| Error::missing_token("an access token is needed"))?;
        if !session.admin {
            return Err(Error::forbidden("only administrators may do this"));
        }
        let arguments = RawPathParams::from_request_parts(&mut parts, app)
            .await
            .map_err(|_| Error::invalid_param("the path is not valid UTF-8"))?;
        let arguments = arguments.iter().map(|(_, value)| value.into()).collect();
        let Query(query) = Query::from_request_parts(&mut parts, app)
            .await
            .map_err(|error| Error::invalid_param(error.to_string()))?;
        Ok(Self {
            session,
            body: extract::json(app, body).await?,
            arguments,
            query,
        })
    }

    /// The part of the path at the place of a parameter.
    pub(super) fn argument(&self, number: usize) -> &str {
        self.arguments.get(number).map_or("", |part| part)
    }

    /// The user of this server whom the path names.
    ///
    /// # Errors
    /// 400 for what is no name of a local user.
    pub(super) fn user(&self, app: &App) -> Result<OwnedUserId, Error> {
        let name = self.argument(0);
        if !name.starts_with('@') {
            return Err(Error::invalid_param("the path has to name a whole user id"));
        }
        app.users
            .local_user(name)
            .map_err(|_| Error::invalid_param("this is no user of this server"))
    }

    /// A parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}
