//! Owns the table of endpoints: which handler serves which request type, at all paths that the type names. Must never
//! know a particular endpoint.
//!
//! A request type of Ruma's says its method, its paths (`/v3`, `/r0`, `/v1` and unstable ones) and whether a login is
//! needed, so an endpoint is mounted by naming its handler. What comes before the handler is in boxes, which are gone while it
//! runs: thousands of requests wait in a long poll, and each would carry the room that its beginning took.

use std::future::Future;

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use hearth_users::Session;
use http::{Method, request::Parts};
use ruma::api::{
    IncomingRequest,
    auth_scheme::{AccessToken, AccessTokenOptional},
    path_builder::PathBuilder,
};

use crate::{App, answer::Answer, error::Error, extract, guests, standing};

/// Endpoints and the paths they are served at.
pub(crate) struct Routes {
    table: Vec<(Method, String)>,
    router: Router<App>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            table: Vec::new(),
            router: Router::new(),
        }
    }

    /// An endpoint that needs no login: `async fn handler(app, request) -> Result<answer, Error>`.
    pub(crate) fn open<T, R, F, Fut>(self, handler: F) -> Self
    where
        T: IncomingRequest + Send + 'static,
        R: Answer,
        F: Fn(App, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Error>> + Send,
    {
        self.mount::<T, _, _>(&[], move |app: App, parts: Parts, body| {
            let handler = handler.clone();
            async move {
                extract::admit::<T>(&app, None, &parts)?;
                let request = Box::pin(extract::read::<T>(&app, parts, body)).await?;
                handler(app, request).await?.into_http()
            }
        })
    }

    /// An endpoint that answers both with and without a login:
    /// `async fn handler(app, Option<Session>, request) -> Result<answer, Error>`.
    pub(crate) fn either<T, R, F, Fut>(self, handler: F) -> Self
    where
        T: IncomingRequest<Authentication = AccessTokenOptional> + Send + 'static,
        R: Answer,
        F: Fn(App, Option<Session>, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Error>> + Send,
    {
        self.mount::<T, _, _>(&[], move |app: App, parts: Parts, body| {
            let handler = handler.clone();
            async move {
                let session = Box::pin(extract::session(&app, &parts)).await?;
                if let Some(session) = &session {
                    guests::admit(session, &parts)?;
                    standing::admit(session, &parts)?;
                }
                extract::admit::<T>(&app, session.as_ref(), &parts)?;
                let request = Box::pin(extract::read::<T>(&app, parts, body)).await?;
                handler(app, session, request).await?.into_http()
            }
        })
    }

    /// An endpoint for users who are logged in: `async fn handler(app, session, request) -> Result<answer, Error>`.
    pub(crate) fn user<T, R, F, Fut>(self, handler: F) -> Self
    where
        T: IncomingRequest<Authentication = AccessToken> + Send + 'static,
        R: Answer,
        F: Fn(App, Session, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Error>> + Send,
    {
        self.user_also(&[], handler)
    }

    /// As [`Self::user`], and at further paths that the request type does not name.
    pub(crate) fn user_also<T, R, F, Fut>(self, further: &[&str], handler: F) -> Self
    where
        T: IncomingRequest<Authentication = AccessToken> + Send + 'static,
        R: Answer,
        F: Fn(App, Session, T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Error>> + Send,
    {
        self.mount::<T, _, _>(further, move |app: App, parts: Parts, body| {
            let handler = handler.clone();
            async move {
                let session = Box::pin(extract::session(&app, &parts))
                    .await?
                    .ok_or_else(|| Error::missing_token("an access token is needed"))?;
                guests::admit(&session, &parts)?;
                standing::admit(&session, &parts)?;
                extract::admit::<T>(&app, Some(&session), &parts)?;
                let request = Box::pin(extract::read::<T>(&app, parts, body)).await?;
                handler(app, session, request).await?.into_http()
            }
        })
    }

    /// An endpoint that Ruma has no type for, given whole. `path` may hold `{…}` parameters.
    pub(crate) fn raw<F, Fut>(mut self, method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(App, Parts, axum::body::Body) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Error>> + Send,
    {
        self.add(&method, path, handler);
        self
    }

    /// These and those.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        self.router = self.router.merge(other.router);
        self
    }

    /// Method and path of every endpoint.
    pub(crate) fn table(&self) -> &[(Method, String)] {
        &self.table
    }

    /// What serves them.
    pub(crate) fn into_router(self) -> Router<App> {
        self.router
    }

    fn mount<T, F, Fut>(mut self, further: &[&str], serve: F) -> Self
    where
        T: IncomingRequest,
        F: Fn(App, Parts, axum::body::Body) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Error>> + Send,
    {
        let mut paths: Vec<&str> = T::PATH_BUILDER.all_paths().collect();
        paths.extend(further);
        for path in paths {
            self.add(&T::METHOD, path, serve.clone());
        }
        self
    }

    fn add<F, Fut>(&mut self, method: &Method, path: &str, serve: F)
    where
        F: Fn(App, Parts, axum::body::Body) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Error>> + Send,
    {
        let path = numbered(path);
        let entry = (method.clone(), path);
        if self.table.contains(&entry) {
            return;
        }
        let Ok(filter) = MethodFilter::try_from(method.clone()) else {
            return;
        };
        let service = on(filter, move |State(app): State<App>, request: Request| {
            let serve = serve.clone();
            async move {
                let (parts, body) = request.into_parts();
                match serve(app, parts, body).await {
                    Ok(response) => response,
                    Err(error) => error.into_response(),
                }
            }
        });
        let router = std::mem::take(&mut self.router);
        self.router = router.route(&entry.1, service);
        self.table.push(entry);
    }
}

/// The path with its parameters named by their number: endpoints that share a path must agree on the names.
fn numbered(path: &str) -> String {
    let mut count = 0_usize;
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            count += 1;
            format!("{{p{count}}}")
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}
