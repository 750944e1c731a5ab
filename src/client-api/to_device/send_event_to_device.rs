//! `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`

use hearth_users::Session;
use ruma::api::client::to_device::send_event_to_device::v3::{Request, Response};

use std::collections::BTreeMap;

use hearth_rooms::Message;
use serde_json::{Value, json};

use crate::{App, error::Error};

pub(super) async fn send_event_to_device(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let sender = (&*session.user_id, &*session.device_id);
    let kind = request.event_type.to_string();
    app.users
        .send_to_device(sender, &kind, &request.txn_id, &request.messages)
        .await?;
    send_elsewhere(&app, &session, &kind, &request).await?;
    Ok(Response::new())
}

/// Queues what is for users of other servers. A repeated request queues it again, and the other server takes it once.
async fn send_elsewhere(
    app: &App,
    session: &Session,
    kind: &str,
    request: &Request,
) -> Result<(), Error> {
    let Ok(remote) = app.rooms.remote() else {
        return Ok(());
    };
    let own = &app.settings.server_name;
    let mut servers: BTreeMap<_, BTreeMap<&str, &_>> = BTreeMap::new();
    for (user, messages) in &request.messages {
        if user.server_name() != own {
            let server = servers.entry(user.server_name().to_owned()).or_default();
            server.insert(user.as_str(), messages);
        }
    }
    for (server, messages) in servers {
        let messages: Value =
            serde_json::to_value(messages).map_err(|e| Error::bad_json(e.to_string()))?;
        let content = json!({
            "sender": session.user_id,
            "type": kind,
            "message_id": format!("{}_{}", session.device_id, request.txn_id),
            "messages": messages,
        });
        let message = Message {
            kind: "m.direct_to_device",
            content,
        };
        remote.queue(vec![server], message).await?;
    }
    Ok(())
}
