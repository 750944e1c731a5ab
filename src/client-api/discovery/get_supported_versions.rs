//! `GET /_matrix/client/versions`

use ruma::api::client::discovery::get_supported_versions::{Request, Response};

use crate::{App, error::Error};

/// The versions whose additions are served here. 1.11 begins with media behind a login, which is not.
const VERSIONS: [&str; 10] = [
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
];

/// Additions of later versions, and names under which clients look for older ones.
const FEATURES: [&str; 13] = [
    "im.nheko.summary.v1",
    "org.matrix.e2e_cross_signing",
    "org.matrix.msc2285.stable",
    "org.matrix.msc2432",
    "org.matrix.msc2946",
    "org.matrix.msc3030",
    "org.matrix.msc3440.stable",
    "org.matrix.msc3771",
    "org.matrix.msc3981",
    "org.matrix.msc4151",
    "uk.half-shot.msc2666.query_mutual_rooms.stable",
    "uk.tcpip.msc4133",
    "uk.tcpip.msc4133.stable",
];

pub(super) async fn get_supported_versions(_: App, _: Request) -> Result<Response, Error> {
    let mut response = Response::new(VERSIONS.map(str::to_owned).to_vec());
    response.unstable_features = FEATURES
        .into_iter()
        .map(|feature| (feature.to_owned(), true))
        .collect();
    Ok(response)
}
