//! `POST /_matrix/key/v2/query`

use hearth_base::Millis;
use ruma::api::federation::discovery::get_remote_server_keys_batch::v2::{Request, Response};

use super::notary;
use crate::{Error, Federation};

pub(super) async fn get_remote_server_keys_batch(
    federation: Federation,
    request: Request,
) -> Result<Response, Error> {
    let now = federation.clock.now();
    let wanted = request.server_keys.into_iter().map(|(server, keys)| {
        let moments = keys.values().map(|criteria| {
            let least = criteria.minimum_valid_until_ts;
            least.map_or(now, |moment| Millis(moment.get().into()))
        });
        let moment = moments.max().unwrap_or(now);
        (server, (keys.into_keys().collect(), moment))
    });
    Ok(Response::new(notary::lists(&federation, wanted).await?))
}
