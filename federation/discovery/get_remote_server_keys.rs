//! `GET /_matrix/key/v2/query/{serverName}`

use hearth_base::Millis;
use ruma::api::federation::discovery::get_remote_server_keys::v2::{Request, Response};

use super::notary;
use crate::{Error, Federation};

pub(super) async fn get_remote_server_keys(
    federation: Federation,
    request: Request,
) -> Result<Response, Error> {
    let moment = Millis(request.minimum_valid_until_ts.get().into());
    let wanted = [(request.server_name, (Default::default(), moment))];
    Ok(Response::new(notary::lists(&federation, wanted).await?))
}
