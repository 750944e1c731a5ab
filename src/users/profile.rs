//! Owns the public fields of a user. Must never tell rooms: the edge puts a changed name or avatar into them.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#profiles>

use hearth_store::{Batch, Family, Json, Table, View};
use ruma::UserId;
use serde_json::{Map, Value};

use crate::{Error, Refusal, Users, service::ATTEMPTS};

/// User to their public fields.
const PROFILES: Table<String, Json<Map<String, Value>>> =
    Table::new(21, "profiles", Family::Records);

/// Bytes of a whole profile, as JSON.
const MAX_BYTES: usize = 65_536;
const MAX_NAME_BYTES: usize = 255;
const DISPLAYNAME: &str = "displayname";
const AVATAR_URL: &str = "avatar_url";
/// Bytes of a display name or the address of an avatar: they are repeated in every room.
const MAX_FACE_BYTES: usize = 2_048;

/// What a user shows of themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// The display name.
    pub displayname: Option<String>,
    /// An `mxc://` address, if the client that set it kept to the specification.
    pub avatar_url: Option<String>,
    /// All fields, the two above included.
    pub fields: Map<String, Value>,
}

impl Users {
    /// The profile of a local user; an empty one for everybody else.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn profile(&self, view: &View, user: &UserId) -> Result<Profile, Error> {
        let found = view.get(&PROFILES, user.as_str()).await?;
        let fields = found.map(|Json(fields)| fields).unwrap_or_default();
        Ok(Profile {
            displayname: text(&fields, DISPLAYNAME),
            avatar_url: text(&fields, AVATAR_URL),
            fields,
        })
    }

    /// Sets a field, or removes it with `None`. Says whether that changed anything.
    ///
    /// # Errors
    /// `NotFound` if the user is not of this server, `InvalidParam` for a field or value of the wrong form,
    /// `KeyTooLarge`, `ProfileTooLarge`, `Busy`.
    pub async fn set_profile_field(
        &self,
        user: &UserId,
        field: &str,
        value: Option<Value>,
    ) -> Result<bool, Error> {
        check_field(field)?;
        if let Some(value) = &value {
            check_value(field, value)?;
        }
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            self.active(&view, user).await?;
            let old = view.get(&PROFILES, user.as_str()).await?;
            let mut fields = old.clone().map(|Json(fields)| fields).unwrap_or_default();
            let changed = match &value {
                Some(value) => {
                    fields.insert(field.to_owned(), value.clone()).as_ref() != Some(value)
                }
                None => fields.remove(field).is_some(),
            };
            if !changed {
                return Ok(false);
            }
            let mut batch = Batch::new();
            batch.assert_unchanged(&PROFILES, user.as_str(), old);
            check_size(&fields)?;
            batch.put(&PROFILES, user.as_str(), Json(fields));
            if self.try_commit(batch).await?.is_some() {
                return Ok(true);
            }
        }
        Err(Error::Busy)
    }
}

/// The profile of an account that is being made.
pub(crate) fn plan_first(batch: &mut Batch, user: &UserId, name: &str) -> Result<(), Error> {
    let value = Value::from(name);
    check_value(DISPLAYNAME, &value)?;
    let fields = Map::from_iter([(DISPLAYNAME.to_owned(), value)]);
    batch.put(&PROFILES, user.as_str(), Json(fields));
    Ok(())
}

/// Removes everything.
pub(crate) fn plan_removal(batch: &mut Batch, user: &UserId) {
    batch.delete(&PROFILES, user.as_str());
}

fn text(fields: &Map<String, Value>, field: &str) -> Option<String> {
    let value = fields.get(field)?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// Fields are named by the common namespaced identifier grammar.
fn check_field(field: &str) -> Result<(), Error> {
    if field.len() > MAX_NAME_BYTES {
        let reason = "the name of the profile field is too long";
        return Err(Error::refused(Refusal::KeyTooLarge, reason));
    }
    let letter = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if !field.starts_with(|c: char| c.is_ascii_lowercase()) || !field.bytes().all(letter) {
        let reason = "a profile field is named with lower-case letters, digits and ._-";
        return Err(Error::refused(Refusal::InvalidParam, reason));
    }
    Ok(())
}

fn check_value(field: &str, value: &Value) -> Result<(), Error> {
    if field != DISPLAYNAME && field != AVATAR_URL {
        return Ok(());
    }
    let Some(text) = value.as_str() else {
        let reason = format!("{field} must be a string");
        return Err(Error::refused(Refusal::InvalidParam, reason));
    };
    if text.len() > MAX_FACE_BYTES {
        return Err(Error::refused(
            Refusal::TooLarge,
            format!("{field} is too long"),
        ));
    }
    // That an avatar is an mxc:// address is for clients to see to when they show it: those of other servers need not be.
    Ok(())
}

fn check_size(fields: &Map<String, Value>) -> Result<(), Error> {
    let written = serde_json::to_vec(fields).map_or(usize::MAX, |json| json.len());
    if written > MAX_BYTES {
        let reason = "the profile is too large";
        return Err(Error::refused(Refusal::ProfileTooLarge, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
