//! Owns what clients keep at the server for themselves, for the account or for one of its rooms, and the log by which `/sync`
//! finds what changed. Must never interpret it, except tags.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#client-config>

use bytes::Bytes;
use hearth_store::{Batch, Direction, Family, Position, SCAN_LIMIT, Table, Topic, View};
use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::{Map, Value, value::RawValue};

use crate::{Error, Refusal, Users, push_rules, service::ATTEMPTS};

/// (user, room or empty, type) to when it was set, and the content.
const ACCOUNT_DATA: Table<(String, String, String), (Position, Bytes)> =
    Table::new(22, "account_data", Family::Records);

/// (user, position) to (room or empty, type): the latest change of each piece, in order.
const CHANGES: Table<(String, Position), (String, String)> =
    Table::new(23, "account_data_changes", Family::Log);

/// User to where in the log their account data last changed.
const MOVED: Table<String, Position> = Table::new(29, "account_data_moved", Family::Records);

/// The type of tags.
const TAGS: &str = "m.tag";
const MAX_KIND_BYTES: usize = 255;
/// Bytes of a tag's name, by the specification.
const MAX_TAG_BYTES: usize = 255;

/// A piece of account data.
#[derive(Clone, Debug)]
pub struct AccountDatum {
    /// The room it is for; `None`: the whole account.
    pub room: Option<OwnedRoomId>,
    /// The event type.
    pub kind: String,
    /// The content, a JSON object as it was set.
    pub content: Box<RawValue>,
}

impl Users {
    /// The content of one piece of account data.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn account_data(
        &self,
        view: &View,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
    ) -> Result<Option<Box<RawValue>>, Error> {
        let found = view.get(&ACCOUNT_DATA, key(user, room, kind)).await?;
        if let Some((_, bytes)) = found {
            return Ok(Some(raw(&bytes)?));
        }
        if room.is_none() && kind == push_rules::KIND {
            return Ok(Some(push_rules::default_content(user)?));
        }
        Ok(None)
    }

    /// As stored, and since when it is so.
    pub(crate) async fn account_datum(
        &self,
        view: &View,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
    ) -> Result<Option<(Position, Bytes)>, Error> {
        Ok(view.get(&ACCOUNT_DATA, key(user, room, kind)).await?)
    }

    /// Gives `new` the tags that the user has for `old`, the room that it replaces, unless it has some.
    ///
    /// # Errors
    /// `Busy`; those of the store.
    pub async fn carry_tags(&self, user: &UserId, old: &RoomId, new: &RoomId) -> Result<(), Error> {
        let view = self.store.view().await?;
        let carried = self.tags(&view, user, old).await?;
        if carried.is_empty() {
            return Ok(());
        }
        self.update_account_data(user, Some(new), TAGS, |content| {
            if !tags_of(std::mem::take(content)).is_empty() {
                return Ok(false);
            }
            content.insert("tags".to_owned(), Value::Object(carried.clone()));
            Ok(true)
        })
        .await
    }

    /// What was set after `after` and up to `upto`, oldest first; each piece once, as it is now. From [`Position::ZERO`] it is
    /// everything, push rules that the user never changed included.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn account_data_since(
        &self,
        view: &View,
        user: &UserId,
        after: Position,
        upto: Position,
    ) -> Result<Vec<AccountDatum>, Error> {
        let name = user.as_str();
        let mut found = Vec::new();
        let moved: Option<Position> = view.get(&MOVED, name).await?;
        // From the beginning also what was never set is told: the predefined push rules.
        if after > Position::ZERO && moved.is_none_or(|moved| moved <= after) {
            return Ok(found);
        }
        let mut from = after.next();
        loop {
            let range = (name, from)..(name, upto.next());
            let page = view
                .scan(&CHANGES, range, Direction::Forward, SCAN_LIMIT)
                .await?;
            let keys = page
                .iter()
                .map(|(_, (room, kind))| (name, &**room, &**kind));
            let contents = view.get_many(&ACCOUNT_DATA, keys).await?;
            let full = page.len() == SCAN_LIMIT;
            if let Some(((_, last), _)) = page.last() {
                from = last.next();
            }
            for ((_, (room, kind)), content) in page.into_iter().zip(contents) {
                let Some((_, bytes)) = content else { continue };
                let room = RoomId::parse(room).ok();
                let content = raw(&bytes)?;
                found.push(AccountDatum {
                    room,
                    kind,
                    content,
                });
            }
            if !full {
                break;
            }
        }
        let has_rules =
            |datum: &AccountDatum| datum.room.is_none() && datum.kind == push_rules::KIND;
        if after == Position::ZERO && !found.iter().any(has_rules) {
            found.push(AccountDatum {
                room: None,
                kind: push_rules::KIND.to_owned(),
                content: push_rules::default_content(user)?,
            });
        }
        Ok(found)
    }

    /// Sets one piece of account data. What the server maintains itself (push rules, read markers) is for the caller to refuse.
    ///
    /// # Errors
    /// `BadJson` if it is no object, `TooLarge`, `Busy`.
    pub async fn set_account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
        content: &RawValue,
    ) -> Result<(), Error> {
        if !content.get().trim_start().starts_with('{') {
            let reason = "account data must be an object";
            return Err(Error::refused(Refusal::BadJson, reason));
        }
        if content.get().len() > self.limits.record_bytes || kind.len() > MAX_KIND_BYTES {
            return Err(Error::refused(
                Refusal::TooLarge,
                "the account data is too large",
            ));
        }
        let content = Bytes::copy_from_slice(content.get().as_bytes());
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let mut batch = Batch::new();
            plan(&view, &mut batch, user, room, kind, content.clone()).await?;
            if batch.is_empty() || self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// Changes one piece of account data from what it is, or from an empty object; nothing if `change` says `false`.
    pub(crate) async fn update_account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
        mut change: impl FnMut(&mut Map<String, Value>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let old = view.get(&ACCOUNT_DATA, key(user, room, kind)).await?;
            // Whatever a client put there that is no object is replaced.
            let mut content = old
                .and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            if !change(&mut content)? {
                return Ok(());
            }
            let written = serde_json::to_vec(&content).map_err(|error| corrupt(&error))?;
            if written.len() > self.limits.record_bytes {
                return Err(Error::refused(
                    Refusal::TooLarge,
                    "the account data is too large",
                ));
            }
            let mut batch = Batch::new();
            plan(&view, &mut batch, user, room, kind, written.into()).await?;
            if batch.is_empty() || self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// The tags of a room, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tags(
        &self,
        view: &View,
        user: &UserId,
        room: &RoomId,
    ) -> Result<Map<String, Value>, Error> {
        let found = view.get(&ACCOUNT_DATA, key(user, Some(room), TAGS)).await?;
        let content = found
            .and_then(|(_, bytes)| serde_json::from_slice::<Map<String, Value>>(&bytes).ok())
            .unwrap_or_default();
        Ok(tags_of(content))
    }

    /// Puts a tag on a room, `info` being an object such as `{"order": 0.5}`.
    ///
    /// # Errors
    /// `TooLarge` for the name of the tag or for all tags, `Busy`.
    pub async fn set_tag(
        &self,
        user: &UserId,
        room: &RoomId,
        tag: &str,
        info: &Value,
    ) -> Result<(), Error> {
        if tag.len() > MAX_TAG_BYTES {
            return Err(Error::refused(Refusal::TooLarge, "the tag is too long"));
        }
        self.update_account_data(user, Some(room), TAGS, |content| {
            let mut tags = tags_of(std::mem::take(content));
            let changed = tags.insert(tag.to_owned(), info.clone()).as_ref() != Some(info);
            content.insert("tags".to_owned(), Value::Object(tags));
            Ok(changed)
        })
        .await
    }

    /// Takes a tag off a room; nothing if it is not there.
    ///
    /// # Errors
    /// `Busy`.
    pub async fn delete_tag(&self, user: &UserId, room: &RoomId, tag: &str) -> Result<(), Error> {
        self.update_account_data(user, Some(room), TAGS, |content| {
            let mut tags = tags_of(std::mem::take(content));
            let changed = tags.remove(tag).is_some();
            content.insert("tags".to_owned(), Value::Object(tags));
            Ok(changed)
        })
        .await
    }
}

fn tags_of(mut content: Map<String, Value>) -> Map<String, Value> {
    match content.remove("tags") {
        Some(Value::Object(tags)) => tags,
        _ => Map::new(),
    }
}

fn key<'a>(
    user: &'a UserId,
    room: Option<&'a RoomId>,
    kind: &'a str,
) -> (&'a str, &'a str, &'a str) {
    (user.as_str(), room.map_or("", RoomId::as_str), kind)
}

/// Sets one piece, unless it is that already, and moves its place in the log.
async fn plan(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    room: Option<&RoomId>,
    kind: &str,
    content: Bytes,
) -> Result<(), Error> {
    let key = key(user, room, kind);
    let old = view.get(&ACCOUNT_DATA, key).await?;
    if old.as_ref().is_some_and(|(_, bytes)| *bytes == content) {
        return Ok(());
    }
    if let Some((position, _)) = &old {
        batch.delete(&CHANGES, (key.0, *position));
    }
    batch.assert_unchanged(&ACCOUNT_DATA, key, old);
    let position = batch.position();
    batch.put(&ACCOUNT_DATA, key, (position, content));
    batch.put(&CHANGES, (key.0, position), (key.1, key.2));
    batch.put(&MOVED, key.0, position);
    batch.wake(Topic::new('u', key.0));
    Ok(())
}

/// Removes the account data of a user, `limit` pieces at most.
pub(crate) async fn plan_removal(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    limit: usize,
) -> Result<(), Error> {
    let of_user = (user.as_str(),);
    let changes = view
        .scan_prefix(&CHANGES, of_user, Direction::Forward, limit)
        .await?;
    for (at, (room, kind)) in changes {
        batch.delete(&ACCOUNT_DATA, (user.as_str(), room, kind));
        batch.delete(&CHANGES, at);
    }
    Ok(())
}

fn raw(bytes: &Bytes) -> Result<Box<RawValue>, Error> {
    serde_json::from_slice(bytes).map_err(|error| corrupt(&error))
}

fn corrupt(error: &serde_json::Error) -> Error {
    hearth_store::Error::Corrupt(format!("account data is not JSON: {error}")).into()
}

#[cfg(test)]
mod tests;
