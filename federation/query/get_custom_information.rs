//! `GET /_matrix/federation/v1/query/{queryType}`

use ruma::{
    OwnedServerName,
    api::federation::query::get_custom_information::v1::{Request, Response},
};

use crate::{Error, Federation};

/// What the specification knows has endpoints of its own.
pub(super) async fn get_custom_information(
    _: Federation,
    _: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    let kind = request.query_type;
    Err(Error::not_found(format!("nothing is known of “{kind}”")))
}
