//! `POST /_matrix/client/v3/keys/signatures/upload`

use std::collections::BTreeMap;

use hearth_store::Batch;
use hearth_users::{Session, SignatureFault, SignatureOutcome};
use ruma::api::client::keys::upload_signatures::v3::Request;
use serde_json::{Value, json};

use super::{ATTEMPTS, busy, commit, signal_rooms};
use crate::{App, answer::Json, error::Error};

pub(super) async fn upload_signatures(
    app: App,
    session: Session,
    request: Request,
) -> Result<Json<Value>, Error> {
    let user = &session.user_id;
    for _ in 0..ATTEMPTS {
        let view = app.store.view().await?;
        let mut batch = Batch::new();
        let outcome = app
            .users
            .plan_signatures(&view, &mut batch, user, &request)
            .await?;
        if outcome.changed {
            signal_rooms(&app, &view, &mut batch, user).await?;
        }
        if batch.is_empty() || commit(&app, batch).await?.is_some() {
            return Ok(Json(answer(outcome)));
        }
    }
    Err(busy())
}

/// Ruma's type of a failure cannot be made.
fn answer(outcome: SignatureOutcome) -> Value {
    let failures: BTreeMap<_, BTreeMap<_, _>> = outcome
        .failures
        .into_iter()
        .map(|(user, keys)| {
            let keys = keys.into_iter().map(|(name, fault)| (name, failure(fault)));
            (user, keys.collect())
        })
        .collect();
    json!({ "failures": failures })
}

fn failure(fault: SignatureFault) -> Value {
    let (errcode, error) = match fault {
        SignatureFault::NotFound => (
            "M_NOT_FOUND",
            "there is no such key, or no key to sign it with",
        ),
        SignatureFault::Invalid => (
            "M_INVALID_SIGNATURE",
            "the key or the signature is not right",
        ),
        SignatureFault::TooMany => ("M_LIMIT_EXCEEDED", "too many signatures at once"),
    };
    json!({ "errcode": errcode, "error": error })
}
