//! `POST /_matrix/policy/v1/sign`

use hearth_rooms::Verdict;
use http::StatusCode;
use ruma::{
    OwnedServerName,
    api::federation::policy::sign_event::v1::{Request, Response},
};

use crate::{Error, Federation};

pub(super) async fn sign_event(
    federation: Federation,
    origin: OwnedServerName,
    request: Request,
) -> Result<Response, Error> {
    if federation.rooms.policy_key().is_none() {
        return Err(Error::unrecognized(StatusCode::NOT_FOUND));
    }
    match federation.rooms.judge_for(&origin, &request.pdu).await? {
        Verdict::Signed(signature) => {
            let own = federation.rooms.server_name().to_owned();
            Ok(Response::new(own, signature))
        }
        Verdict::Refused(reason) => {
            metrics::counter!("hearth_policy_refused_total").increment(1);
            Err(Error::new(StatusCode::BAD_REQUEST, "M_FORBIDDEN", reason))
        }
    }
}
