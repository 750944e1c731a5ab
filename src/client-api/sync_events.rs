//! What is new: `GET /_matrix/client/v3/sync`
//!
//! Owns nothing but the way there: what is in the answer is `sync`'s to say.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use hearth_store::View;
use hearth_sync::{StateForm, Token};
use hearth_users::{Availability, Session};
use http::Method;
use ruma::{
    UserId,
    api::{
        IncomingRequest, Metadata,
        auth_scheme::AccessToken,
        client::{
            filter::FilterDefinition,
            sync::sync_events::v3::{Filter, Request, Response},
        },
        error::DeserializationError,
        path_builder::VersionHistory,
    },
    presence::PresenceState,
};

use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
    routes::Routes,
};

/// The name under which clients asked for the state at the end of the timeline before it was in the specification.
const UNSTABLE_STATE_AFTER: &str = "org.matrix.msc4222.use_state_after=true";

/// The endpoint of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(sync_events)
}

/// Not an `async fn`, and what comes first is in a box: a request that waits must not carry the room that reading it took.
fn sync_events(
    app: App,
    session: Session,
    asked: Asked,
) -> impl Future<Output = Result<impl Answer, Error>> {
    let request = Box::pin(what(app.clone(), session, asked));
    async move {
        let (session, request) = request.await?;
        Ok(Json(app.sync.sync(session, request).await?))
    }
}

/// What `sync` is asked for, and by whom.
async fn what(
    app: App,
    session: Session,
    asked: Asked,
) -> Result<(Session, hearth_sync::Request), Error> {
    let since = match &asked.request.since {
        Some(token) => Some(
            token
                .parse::<Token>()
                .map_err(|_| Error::invalid_param("since is not a token of this server"))?,
        ),
        None => None,
    };
    let filter = match asked.request.filter {
        None => FilterDefinition::default(),
        Some(Filter::FilterDefinition(filter)) => filter,
        Some(Filter::FilterId(id)) => {
            let view = app.store.view().await?;
            stored_filter(&app, &view, &session.user_id, &id).await?
        }
        Some(_) => return Err(Error::invalid_param("no such filter")),
    };
    let request = hearth_sync::Request {
        since,
        timeout: asked.request.timeout.unwrap_or_default(),
        full_state: asked.request.full_state,
        filter: Box::new(filter),
        state_form: asked.state_form,
        availability: presence(&asked.request.set_presence)?,
    };
    Ok((session, request))
}

/// What a user is who syncs so: `offline` means that they do not want to be seen.
fn presence(set: &PresenceState) -> Result<Option<Availability>, Error> {
    match Availability::parse(set.as_str()) {
        Some(Availability::Offline) => Ok(None),
        Some(other) => Ok(Some(other)),
        None => Err(Error::invalid_param("there is no such presence")),
    }
}

/// The filter that the user stored under `id`.
async fn stored_filter(
    app: &App,
    view: &View,
    user: &UserId,
    id: &str,
) -> Result<FilterDefinition, Error> {
    if id.starts_with('{') {
        return Err(Error::not_json("the filter is not JSON of the right form"));
    }
    let filter = app
        .users
        .filter(view, user, id)
        .await?
        .ok_or_else(|| Error::invalid_param("no such filter"))?;
    serde_json::from_str(filter.get())
        .map_err(|_| Error::invalid_param("the stored filter is of no use"))
}

/// The request, and in which form the state is wanted, which Ruma knows only half of.
struct Asked {
    request: Request,
    state_form: StateForm,
}

impl Metadata for Asked {
    const METHOD: Method = Request::METHOD;
    const RATE_LIMITED: bool = Request::RATE_LIMITED;
    type Authentication = AccessToken;
    type PathBuilder = VersionHistory;
    const PATH_BUILDER: VersionHistory = Request::PATH_BUILDER;
}

impl IncomingRequest for Asked {
    type EndpointError = <Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        http: http::Request<&[u8]>,
        arguments: &[&str],
    ) -> Result<Self, DeserializationError> {
        let query = http.uri().query().unwrap_or_default();
        let unstable = query.split('&').any(|pair| pair == UNSTABLE_STATE_AFTER);
        let request = Request::try_from_http_request_inner(http, arguments)?;
        let state_form = match (request.use_state_after, unstable) {
            (true, _) => StateForm::After,
            (false, true) => StateForm::UnstableAfter,
            (false, false) => StateForm::Before,
        };
        Ok(Self {
            request,
            state_form,
        })
    }
}
