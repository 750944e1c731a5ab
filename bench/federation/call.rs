//! Owns the requests that made-up servers make of the server under measurement. Must never look into an answer.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#request-authentication>

use hearth_federation::reach::Signed;
use http::Method;
use ruma::ServerName;
use serde_json::json;

use super::{hosts::Host, room};
use crate::{Failure, http::Client, matrix::NAME};

/// A transaction that is signed already.
pub(super) struct Parcel {
    path: String,
    authorization: String,
    body: String,
}

impl Parcel {
    /// The events, each as JSON, in a transaction of `host` with this id.
    pub(super) fn pack(host: &Host, id: &str, events: &[&str]) -> Result<Self, Failure> {
        let (origin, now) = (json!(host.name), room::now());
        let body = format!(
            "{{\"origin\":{origin},\"origin_server_ts\":{now},\"pdus\":[{}]}}",
            events.join(",")
        );
        let path = format!("/_matrix/federation/v1/send/{id}");
        let destination = ServerName::parse(NAME)?;
        let signed = Signed {
            method: "PUT",
            uri: &path,
            origin: &host.name,
            destination: &destination,
            content: Some(body.as_bytes()),
        };
        let authorization = signed.header(&host.key)?;
        Ok(Self {
            path,
            authorization,
            body,
        })
    }

    /// Sends it, and waits for the answer.
    pub(super) async fn send(&self, client: &mut Client) -> Result<(), Failure> {
        let answer = client
            .call_as(&Method::PUT, &self.path, &self.authorization, &self.body)
            .await?;
        answer.good().map(drop)
    }
}
