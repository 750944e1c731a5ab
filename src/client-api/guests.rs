//! Owns what guests may do: who has an account without a name and a password sees rooms, and takes part in those that let
//! guests in. Must never let a guest call an endpoint that the specification does not list for them.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#guest-access>

use hearth_rooms::{Act, MemberChange};
use hearth_store::View;
use hearth_users::Session;
use http::{Method, StatusCode, request::Parts};
use ruma::{RoomId, api::error::ErrorKind};
use serde::Deserialize;

use crate::{App, error::Error};

/// What guests may call, below `/_matrix/client/v3`; `*` stands for any one part.
const OPEN: [(Method, &str); 29] = [
    (Method::GET, "rooms/*/state"),
    (Method::GET, "rooms/*/context/*"),
    (Method::GET, "rooms/*/event/*"),
    (Method::GET, "rooms/*/state/*"),
    (Method::GET, "rooms/*/state/*/*"),
    (Method::GET, "rooms/*/messages"),
    (Method::GET, "rooms/*/members"),
    (Method::GET, "rooms/*/initialSync"),
    (Method::GET, "sync"),
    (Method::GET, "events"),
    (Method::GET, "media/download/*/*"),
    (Method::GET, "media/download/*/*/*"),
    (Method::GET, "media/thumbnail/*/*"),
    (Method::POST, "rooms/*/join"),
    (Method::POST, "rooms/*/leave"),
    (Method::PUT, "rooms/*/send/*/*"),
    (Method::PUT, "rooms/*/state/*"),
    (Method::PUT, "rooms/*/state/*/*"),
    (Method::PUT, "sendToDevice/*/*"),
    (Method::PUT, "profile/*/displayname"),
    (Method::DELETE, "profile/*/displayname"),
    (Method::GET, "devices"),
    (Method::GET, "devices/*"),
    (Method::PUT, "devices/*"),
    (Method::GET, "account/whoami"),
    (Method::POST, "keys/upload"),
    (Method::POST, "keys/query"),
    (Method::POST, "keys/claim"),
    (Method::POST, "logout"),
];

/// Lets a request in, unless it is one that guests may not make.
pub(crate) fn admit(session: &Session, parts: &Parts) -> Result<(), Error> {
    if !session.guest || is_among(&OPEN, &parts.method, parts.uri.path()) {
        return Ok(());
    }
    Err(forbidden("guests may not do this"))
}

fn forbidden(reason: &str) -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        ErrorKind::GuestAccessForbidden,
        reason,
    )
}

/// Whether a call is one of a list of methods and paths below `/_matrix/client/v3`, where `*` stands for any one part.
pub(crate) fn is_among(list: &[(Method, &str)], method: &Method, path: &str) -> bool {
    let versions = ["v3", "r0", "v1"];
    let below = path.strip_prefix("/_matrix/client/").and_then(|rest| {
        let (version, rest) = rest.split_once('/')?;
        versions.contains(&version).then_some(rest)
    });
    let Some(below) = below else {
        return false;
    };
    let fits = |pattern: &str| {
        let (mut parts, mut given) = (pattern.split('/'), below.trim_end_matches('/').split('/'));
        loop {
            match (parts.next(), given.next()) {
                (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(part), Some(given)) if part == given => {}
                _ => return false,
            }
        }
    };
    list.iter()
        .any(|(listed, pattern)| listed == method && fits(pattern))
}

/// Lets a guest join a room, if it lets guests in.
pub(crate) async fn check_join(app: &App, session: &Session, room: &RoomId) -> Result<(), Error> {
    if !session.guest {
        return Ok(());
    }
    let view = app.store.view().await?;
    match admits(app, &view, room).await? {
        true => Ok(()),
        false => Err(forbidden("this room does not let guests in")),
    }
}

async fn admits(app: &App, view: &View, room: &RoomId) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Content {
        guest_access: String,
    }
    let Some(head) = app.rooms.head(view, room).await? else {
        return Ok(false);
    };
    let event = app
        .rooms
        .state_event(view, &head, head.state, "m.room.guest_access", "")
        .await?;
    let content =
        event.and_then(|event| serde_json::from_str::<Content>(event.pdu.content().get()).ok());
    Ok(content.is_some_and(|content| content.guest_access == "can_join"))
}

/// Lets the guests of a room leave, if it does not let them in any more.
pub(crate) async fn turn_out(app: &App, room: &RoomId) -> Result<(), Error> {
    let view = app.store.view().await?;
    if admits(app, &view, room).await? {
        return Ok(());
    }
    for user in app.rooms.local_members(&view, room).await? {
        let account = app.users.account(&view, &user).await?;
        if account.is_some_and(|account| account.guest) {
            let leave = MemberChange::own(room.to_owned(), user, Act::Leave);
            app.rooms.change_membership(leave).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{OPEN, is_among};

    #[test]
    fn guests_see_rooms_and_little_else() {
        let is_open = |method: &Method, path: &str| is_among(&OPEN, method, path);
        let room = "/_matrix/client/v3/rooms/%21r:x";
        assert!(is_open(&Method::GET, &format!("{room}/messages")));
        assert!(is_open(&Method::GET, &format!("{room}/state/m.room.name/")));
        assert!(is_open(&Method::POST, "/_matrix/client/v3/keys/upload"));
        assert!(is_open(
            &Method::GET,
            "/_matrix/client/v1/media/download/x/y"
        ));
        assert!(!is_open(
            &Method::POST,
            "/_matrix/client/v3/keys/device_signing/upload"
        ));
        assert!(!is_open(&Method::POST, "/_matrix/client/v3/createRoom"));
        assert!(!is_open(&Method::DELETE, &format!("{room}/messages")));
        assert!(!is_open(&Method::GET, "/_synapse/admin/v1/rooms"));
    }
}
