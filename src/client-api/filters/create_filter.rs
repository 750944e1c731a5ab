//! `POST /_matrix/client/v3/user/{userId}/filter`

use hearth_users::Session;
use ruma::{
    OwnedUserId,
    api::{
        IncomingRequest, Metadata,
        client::filter::create_filter::v3::{Request as Checked, Response},
        error::DeserializationError,
    },
};
use serde_json::value::RawValue;

use crate::{App, account_data::check_owner, error::Error};

/// A filter that was read and found to be one, kept as it was sent.
pub(super) struct Request {
    user_id: OwnedUserId,
    filter: Box<RawValue>,
}

impl Metadata for Request {
    const METHOD: http::Method = Checked::METHOD;
    const RATE_LIMITED: bool = Checked::RATE_LIMITED;
    type Authentication = <Checked as Metadata>::Authentication;
    type PathBuilder = <Checked as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Checked::PATH_BUILDER;
}

impl IncomingRequest for Request {
    type EndpointError = <Checked as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let filter = serde_json::from_slice(request.body())?;
        let checked = Checked::try_from_http_request_inner(request, path_args)?;
        Ok(Self {
            user_id: checked.user_id,
            filter,
        })
    }
}

pub(super) async fn create_filter(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    check_owner(&session, &request.user_id)?;
    let id = app
        .users
        .put_filter(&session.user_id, &request.filter)
        .await?;
    Ok(Response::new(id))
}
