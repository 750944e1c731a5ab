//! Owns the form of a request to join: what the client puts into the body beyond what the specification names goes into
//! the member event. Must never decide which of it: that is the room's part.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3joinroomidoralias>

use ruma::api::{
    IncomingRequest, Metadata, auth_scheme::AuthScheme, error::DeserializationError,
    path_builder::PathBuilder,
};
use serde_json::{Map, Value};

/// What the specification gives another meaning than content.
const KNOWN: [&str; 2] = ["reason", "third_party_signed"];

/// A request, and what else is in its body.
pub(super) struct Joining<T> {
    /// As the specification has it.
    pub(super) request: T,
    /// The rest.
    pub(super) further: Map<String, Value>,
}

impl<T: Metadata> Metadata for Joining<T>
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

impl<T: IncomingRequest> IncomingRequest for Joining<T> {
    type EndpointError = T::EndpointError;
    type OutgoingResponse = T::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let mut further: Map<String, Value> = serde_json::from_slice(request.body())?;
        further.retain(|name, _| !KNOWN.contains(&name.as_str()));
        let request = T::try_from_http_request_inner(request, path_args)?;
        Ok(Self { request, further })
    }
}
