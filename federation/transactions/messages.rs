//! Owns what other servers tell that is no event: who types, receipts, messages to devices, changes of devices. Must never
//! let a server speak for users of another; what is wrong is passed over, for the rest of a transaction may be right.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#edus>

use std::{collections::BTreeMap, time::Duration};

use hearth_base::Millis;
use hearth_rooms::{ReceiptThread as Thread, signal_device_change};
use hearth_store::{Batch, CommitError};
use hearth_users::{Availability, Presence};
use ruma::{
    DeviceId, EventId, MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId, RoomId, ServerName,
    UserId,
    api::federation::transactions::edu::{
        DirectDeviceContent, Edu, PresenceContent, TypingContent,
    },
    serde::Raw,
};
use serde::Deserialize;

use crate::{Error, Federation, outbound::devices::UNCHANGED};

/// How long somebody of another server types, if nothing else is heard.
const TYPING: Duration = Duration::from_secs(30);

/// Of how many users one message tells whether they are there.
const MAX_PRESENT: usize = 500;

/// How often a change of devices is planned.
const ATTEMPTS: usize = 8;

/// Takes the messages of a transaction.
///
/// # Errors
/// Those of the store, upon which the other server sends the transaction again.
pub(super) async fn take(
    federation: &Federation,
    origin: &ServerName,
    messages: &[Raw<Edu>],
) -> Result<(), Error> {
    for message in messages {
        let kind = message.get_field::<String>("edu_type");
        if kind.is_ok_and(|kind| kind.as_deref() == Some("m.receipt")) {
            receipts(federation, origin, message).await?;
            continue;
        }
        let read = match message.deserialize() {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%origin, %error, "a message cannot be read");
                continue;
            }
        };
        match read {
            Edu::Typing(content) => typing(federation, origin, content).await?,
            Edu::Presence(content) => presence(federation, origin, content).await?,
            Edu::DirectToDevice(content) => to_devices(federation, origin, content).await?,
            Edu::DeviceListUpdate(_) if is_unchanged(message) => {}
            Edu::DeviceListUpdate(content) => devices(federation, origin, &content.user_id).await?,
            Edu::SigningKeyUpdate(content) => devices(federation, origin, &content.user_id).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a list of devices is told for other reasons than a change.
fn is_unchanged(message: &Raw<Edu>) -> bool {
    let content = message.get_field::<serde_json::Map<String, serde_json::Value>>("content");
    content.is_ok_and(|content| content.is_some_and(|content| content.contains_key(UNCHANGED)))
}

/// Passes over what a room refuses; a fault of the store is one of the whole transaction.
fn unless_store(result: Result<(), hearth_rooms::Error>) -> Result<(), Error> {
    match result {
        Err(hearth_rooms::Error::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "a message is passed over");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Whether a server may say something about its user in a room.
async fn may_speak(
    federation: &Federation,
    origin: &ServerName,
    user: &UserId,
    room_id: &RoomId,
) -> Result<bool, Error> {
    if user.server_name() != origin {
        return Ok(false);
    }
    let view = federation.store.view().await?;
    let Some(head) = federation.rooms.head(&view, room_id).await? else {
        return Ok(false);
    };
    Ok(federation.rooms.may_take_part(&view, &head, origin).await?)
}

async fn typing(
    federation: &Federation,
    origin: &ServerName,
    content: TypingContent,
) -> Result<(), Error> {
    let (user, room_id) = (&content.user_id, &content.room_id);
    if !may_speak(federation, origin, user, room_id).await? {
        return Ok(());
    }
    let timeout = content.typing.then_some(TYPING);
    unless_store(federation.rooms.set_typing(user, room_id, timeout).await)
}

async fn presence(
    federation: &Federation,
    origin: &ServerName,
    content: PresenceContent,
) -> Result<(), Error> {
    let now = federation.clock.now();
    let own = content.push.into_iter();
    let own = own.filter(|update| update.user_id.server_name() == origin);
    for update in own.take(MAX_PRESENT) {
        let Some(availability) = Availability::parse(update.presence.as_str()) else {
            continue;
        };
        let view = federation.store.view().await?;
        let user = &update.user_id;
        if federation
            .rooms
            .rooms_shared_with(&view, user)
            .await?
            .is_empty()
        {
            continue;
        }
        let ago = u64::from(update.last_active_ago);
        let told = Presence {
            availability,
            message: update.status_msg,
            last_active: (availability != Availability::Offline || ago > 0)
                .then(|| Millis(now.0.saturating_sub(ago))),
        };
        federation.users.hear_presence(user, told).await?;
    }
    Ok(())
}

/// By room, kind and user what was read. The events may be ones that this server does not have, and of any form.
type Receipts = BTreeMap<OwnedRoomId, BTreeMap<String, BTreeMap<OwnedUserId, Read>>>;

#[derive(Deserialize)]
struct Read {
    data: ReadData,
    event_ids: Vec<String>,
}

#[derive(Deserialize)]
struct ReadData {
    ts: MilliSecondsSinceUnixEpoch,
    #[serde(default)]
    thread_id: Option<String>,
}

async fn receipts(
    federation: &Federation,
    origin: &ServerName,
    message: &Raw<Edu>,
) -> Result<(), Error> {
    let content = match message.get_field::<Receipts>("content") {
        Ok(content) => content.unwrap_or_default(),
        Err(error) => {
            tracing::debug!(%origin, %error, "receipts cannot be read");
            return Ok(());
        }
    };
    for (room_id, mut kinds) in content {
        for (user, read) in kinds.remove("m.read").unwrap_or_default() {
            if !may_speak(federation, origin, &user, &room_id).await? {
                continue;
            }
            let thread = match read.data.thread_id.as_deref() {
                None => Thread::Unthreaded,
                Some("main") => Thread::Main,
                Some(root) => match EventId::parse(root) {
                    Ok(root) => Thread::Thread(root),
                    Err(_) => continue,
                },
            };
            if let Some(event_id) = read.event_ids.first() {
                let (rooms, time) = (&federation.rooms, read.data.ts);
                let moved = rooms.hear_receipt(&user, &room_id, event_id, time, thread);
                unless_store(moved.await)?;
            }
        }
    }
    Ok(())
}

async fn to_devices(
    federation: &Federation,
    origin: &ServerName,
    content: DirectDeviceContent,
) -> Result<(), Error> {
    if content.sender.server_name() != origin {
        return Ok(());
    }
    // The other server makes its ids unique for each sender.
    let device: &DeviceId = "".into();
    let kind = content.ev_type.to_string();
    let sender = (&*content.sender, device);
    let sent = federation
        .users
        .send_to_device(sender, &kind, &content.message_id, &content.messages)
        .await;
    match sent {
        Err(hearth_users::Error::Store(error)) => Err(error.into()),
        Err(error @ hearth_users::Error::Busy) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%origin, %error, "a message to devices is passed over");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Tells those who share a room with the user that their devices or keys changed.
async fn devices(federation: &Federation, origin: &ServerName, user: &UserId) -> Result<(), Error> {
    if user.server_name() != origin {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        let view = federation.store.view().await?;
        let rooms = federation.rooms.rooms_shared_with(&view, user).await?;
        let mut batch = Batch::new();
        signal_device_change(&view, &mut batch, &rooms, user).await?;
        federation
            .rooms
            .plan_late_devices(&view, &mut batch, user)
            .await?;
        match federation.store.commit(batch).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Failed(error)) => return Err(error.into()),
        }
    }
    Err(Error::unavailable(&"the devices of a user change too fast"))
}
