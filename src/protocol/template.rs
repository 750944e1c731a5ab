//! Owns the step from an event that one server drafts to the event that another signs: how users of other servers join,
//! leave and knock. Must never sign what the signing server did not decide: the drafting server chooses only where the
//! event stands in the graph.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#joining-rooms>

use ruma::{CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId};
use serde_json::value::RawValue;

use crate::{
    canonical, errors::Malformed, key::SigningKey, pdu::Pdu, signature, version::RoomVersion,
};

/// What the signing server decides about a member event that another server drafted.
#[derive(Clone, Debug)]
pub struct MemberDraft {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Whose membership changes, by their own will.
    pub user: OwnedUserId,
    /// A JSON object.
    pub content: Box<RawValue>,
    /// Now, in milliseconds since the epoch.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// The part of the event id before the colon, unique on this server. Read in room versions 1 and 2 only.
    pub local_id: String,
}

/// The event that a drafted member event becomes: hashed and signed. Of the template only `prev_events`, `auth_events` and
/// `depth` are taken.
///
/// # Errors
/// `Malformed` when the result is not an event of this room version.
pub fn seal_template(
    template: &RawValue,
    draft: MemberDraft,
    version: RoomVersion,
    key: &SigningKey,
) -> Result<Pdu, Malformed> {
    let mut template = canonical::parse_object(template.get().as_bytes())?;
    let mut object = ruma::CanonicalJsonObject::new();
    for field in ["prev_events", "auth_events", "depth"] {
        let value = template
            .remove(field)
            .ok_or_else(|| Malformed::format(format!("the template has no `{field}`")))?;
        object.insert(field.to_owned(), value);
    }
    let content = canonical::check_content(&draft.content)?;
    let mut put = |field: &str, value: CanonicalJsonValue| object.insert(field.to_owned(), value);
    put("content", CanonicalJsonValue::Object(content));
    put("type", "m.room.member".into());
    put("state_key", draft.user.as_str().into());
    put("sender", draft.user.as_str().into());
    put("room_id", draft.room_id.as_str().into());
    put("origin_server_ts", draft.origin_server_ts.get().into());
    if version.has_explicit_event_ids() {
        let id = format!("${}:{}", draft.local_id, key.server());
        put("event_id", id.as_str().into());
    }
    signature::sign_event(&mut object, version, key)?;
    Pdu::from_object(&object, version)
}

/// The event without what only the server that signs it can give: for that server to complete.
///
/// # Errors
/// `Malformed` only if the event's JSON is corrupt.
pub fn to_template(pdu: &Pdu) -> Result<Box<RawValue>, Malformed> {
    let mut object = pdu.object()?;
    for field in ["event_id", "hashes", "signatures", "unsigned"] {
        object.remove(field);
    }
    RawValue::from_string(canonical::to_text(&object)?).map_err(Malformed::format)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ruma::{room_id, server_name, uint, user_id};

    use super::*;
    use crate::{Draft, seal, verify_content_hash};

    #[test]
    fn a_template_comes_back_as_an_event_of_the_one_who_signs_it() {
        let here = SigningKey::generate(server_name!("here"), "ed25519:k", [1; 32]).unwrap();
        let there = SigningKey::generate(server_name!("there"), "ed25519:k", [2; 32]).unwrap();
        for version in [RoomVersion::ALL[0], RoomVersion::ALL[9]] {
            let content = RawValue::from_string(r#"{"membership":"join"}"#.to_owned()).unwrap();
            let mut draft = Draft::new(
                user_id!("@a:there").to_owned(),
                "m.room.member",
                content.clone(),
                MilliSecondsSinceUnixEpoch(uint!(1)),
            );
            draft.room_id = Some(room_id!("!r:here").to_owned());
            draft.state_key = Some("@a:there".to_owned());
            draft.local_id = "x".to_owned();
            let template = to_template(&seal(draft, version, &here).unwrap()).unwrap();
            assert!(!template.get().contains("signatures"));
            let completed = MemberDraft {
                room_id: room_id!("!r:here").to_owned(),
                user: user_id!("@a:there").to_owned(),
                content,
                origin_server_ts: MilliSecondsSinceUnixEpoch(uint!(2)),
                local_id: "y".to_owned(),
            };
            let pdu = seal_template(&template, completed, version, &there).unwrap();
            assert!(pdu.is("m.room.member", "@a:there"));
            assert!(verify_content_hash(&pdu).unwrap());
            assert!(
                pdu.json().contains("\"there\":{\"ed25519:k\""),
                "{}",
                pdu.json()
            );
        }
        let empty = RawValue::from_string("{}".to_owned()).unwrap();
        let draft = MemberDraft {
            room_id: room_id!("!r:here").to_owned(),
            user: user_id!("@a:there").to_owned(),
            content: empty.clone(),
            origin_server_ts: MilliSecondsSinceUnixEpoch(uint!(2)),
            local_id: String::new(),
        };
        seal_template(&empty, draft, RoomVersion::default(), &there).unwrap_err();
    }
}
