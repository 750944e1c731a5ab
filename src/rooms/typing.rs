//! Owns who is typing where: ephemeral, so it lives beside the store and may be lost. Must never be written to the log.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#typing-notifications>

use std::time::Duration;

use bytes::Bytes;
use hearth_store::{Hint, Lifetime, Position, Topic};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{Error, Message, Rooms, membership::parse_user};

/// The longest time that a client may claim at once.
const MAX_TYPING: Duration = Duration::from_secs(120);

/// How long a stamp outlives the typing that it is of: a client that was away longer is told the whole.
const STAMP_LIFETIME: Lifetime = Lifetime(10 * 60 * 1000);

/// A number that grows with every change of who is typing in a room: milliseconds since the epoch, or a little ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypingStamp(pub u64);

impl Rooms {
    /// Says that the user types for the next `timeout` (two minutes at most), or no longer types.
    ///
    /// # Errors
    /// `Forbidden` when the user is not in the room.
    pub async fn set_typing(
        &self,
        user: &UserId,
        room_id: &RoomId,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let view = self.0.store.view().await?;
        if !self.may_be_joined(&view, user, room_id).await? {
            return Err(Error::forbidden("you are not in this room"));
        }
        let hints = self.0.store.hints();
        let key = format!("typing/{room_id}/{user}");
        match timeout {
            Some(timeout) => {
                let millis = timeout.min(MAX_TYPING).as_millis();
                let lifetime = Lifetime(u64::try_from(millis).unwrap_or_default());
                hints.put(&key, Bytes::new(), lifetime).await?;
                tokio::spawn(tell_of_the_end(
                    self.clone(),
                    room_id.to_owned(),
                    key,
                    lifetime,
                ));
            }
            None => {
                if hints.take(&key).await?.is_none() {
                    return Ok(());
                }
            }
        }
        self.stamp(room_id).await?;
        if !self.is_local(user) {
            return Ok(());
        }
        let content = serde_json::json!({
            "room_id": room_id,
            "user_id": user,
            "typing": timeout.is_some(),
        });
        let kind = "m.typing";
        self.tell_room(&view, room_id, Message { kind, content })
            .await
    }

    /// Who is typing in the room now, and the stamp of the last change.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn typing(&self, room_id: &RoomId) -> Result<(Vec<OwnedUserId>, TypingStamp), Error> {
        let stamp = self.typing_stamp(room_id).await?;
        if stamp == TypingStamp::default() {
            return Ok((Vec::new(), stamp));
        }
        let prefix = format!("typing/{room_id}/");
        let found = self.0.store.hints().list(&prefix).await?;
        let users = found
            .into_iter()
            .filter_map(|(key, _)| key.strip_prefix(&prefix).map(ToOwned::to_owned))
            .map(parse_user)
            .collect::<Result<Vec<_>, _>>()?;
        Ok((users, stamp))
    }

    /// The stamp of the last change alone; zero when nobody typed for long.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn typing_stamp(&self, room_id: &RoomId) -> Result<TypingStamp, Error> {
        let found = self.0.store.hints().get(&stamp_key(room_id)).await?;
        Ok(read_stamp(found))
    }

    /// As [`Rooms::typing_stamp`] of each of `rooms`, in one question.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn typing_stamps(&self, rooms: &[&RoomId]) -> Result<Vec<TypingStamp>, Error> {
        let keys = rooms.iter().map(|room_id| stamp_key(room_id)).collect();
        let found = self.0.store.hints().get_many(keys).await?;
        Ok(found.into_iter().map(read_stamp).collect())
    }

    /// Puts a new stamp on who is typing in the room, and tells those who wait.
    async fn stamp(&self, room_id: &RoomId) -> Result<(), Error> {
        let last = self.typing_stamp(room_id).await?;
        let stamp = self.0.clock.now().0.max(last.0 + 1);
        let value = Bytes::copy_from_slice(&stamp.to_be_bytes());
        let hints = self.0.store.hints();
        hints
            .put(&stamp_key(room_id), value, STAMP_LIFETIME)
            .await?;
        hints.publish(Hint {
            topics: [Topic::new('r', room_id.as_str())].into(),
            position: Position::ZERO,
        });
        Ok(())
    }
}

/// Waits until the time of who types is over, and tells if they did not go on.
async fn tell_of_the_end(rooms: Rooms, room_id: OwnedRoomId, key: String, lifetime: Lifetime) {
    // A little later, so that the value is gone by then.
    tokio::time::sleep(Duration::from_millis(lifetime.0 + 50)).await;
    let gone = rooms.0.store.hints().get(&key).await;
    if gone.is_ok_and(|value| value.is_none())
        && let Err(error) = rooms.stamp(&room_id).await
    {
        tracing::debug!(%error, "the end of typing is not told");
    }
}

fn read_stamp(found: Option<Bytes>) -> TypingStamp {
    let number = found.and_then(|bytes| <[u8; 8]>::try_from(bytes.as_ref()).ok());
    TypingStamp(number.map_or(0, u64::from_be_bytes))
}

fn stamp_key(room_id: &RoomId) -> String {
    format!("typed/{room_id}")
}
