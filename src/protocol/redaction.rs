//! Owns redaction: what is left of an event, and who may redact. Must never change the event's id.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#redactions> and the redactions of each room version

use std::borrow::Cow;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, canonical_json::RedactedBecause};

use crate::{
    canonical, client_form,
    errors::Malformed,
    pdu::Pdu,
    power::{Level, PowerLevels},
    version::RoomVersion,
};

/// The event with everything removed that its room version does not protect. With `because`, the redaction is kept under
/// `unsigned.redacted_because` in the form that clients see; without, what was there before stays.
///
/// # Errors
/// `Malformed` only if the event's JSON is corrupt.
pub fn redact(pdu: &Pdu, version: RoomVersion, because: Option<&Pdu>) -> Result<Pdu, Malformed> {
    let mut object = pdu.object()?;
    let before = object.remove("unsigned");
    let because = match because {
        Some(redaction) => {
            let form = client_form::client_json(redaction, true, None);
            Some(RedactedBecause::from_json(canonical::parse_object(
                form.get().as_bytes(),
            )?))
        }
        None => None,
    };
    let replaced = because.is_some();
    redact_object(&mut object, version, because)?;
    if let (false, Some(unsigned)) = (replaced, before) {
        object.insert("unsigned".to_owned(), unsigned);
    }
    let json = canonical::to_text(&object)?;
    Ok(
        Pdu::from_stored(pdu.event_id().to_owned(), json.as_bytes(), version)?
            .marked_rejected(pdu.is_rejected()),
    )
}

fn redact_object(
    object: &mut CanonicalJsonObject,
    version: RoomVersion,
    because: Option<RedactedBecause>,
) -> Result<(), Malformed> {
    if let Cow::Owned(fitting) = without_stray_invite(object, version) {
        *object = fitting;
    }
    ruma::canonical_json::redact_in_place(object, &version.rules().redaction, because)
        .map_err(Malformed::format)
}

/// The event as everything that redacts has to see it. Where room versions protect what is `signed` in a third-party invite,
/// Ruma also keeps an invite that is no object, which other servers do not: the event would have another id here.
pub(crate) fn without_stray_invite(
    object: &CanonicalJsonObject,
    version: RoomVersion,
) -> Cow<'_, CanonicalJsonObject> {
    const FIELD: &str = "third_party_invite";
    let rules = &version.rules().redaction;
    let invite = object
        .get("content")
        .and_then(|content| content.as_object()?.get(FIELD));
    let is_stray = rules.keep_room_member_third_party_invite_signed
        && invite.is_some_and(|invite| invite.as_object().is_none())
        && object.get("type").and_then(CanonicalJsonValue::as_str) == Some("m.room.member");
    if !is_stray {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(CanonicalJsonValue::Object(content)) = object.get_mut("content") {
        content.remove(FIELD);
    }
    Cow::Owned(object)
}

/// Whether a redaction that the auth rules let through takes effect on `target`: its sender has the power to redact, or
/// both senders are of one server. Until this holds, the redaction is not shown to clients.
///
/// Room versions 1 and 2 decide this in their auth rules, so that there every allowed redaction takes effect.
pub fn may_redact(
    redaction: &Pdu,
    target: &Pdu,
    levels: &PowerLevels,
    version: RoomVersion,
) -> bool {
    if redaction.room_id() != target.room_id() || redaction.redacts() != Some(target.event_id()) {
        return false;
    }
    // The creation of a room cannot be taken back.
    if target.event_type() == "m.room.create" {
        return false;
    }
    let by_own_server = redaction.sender().server_name() == target.sender().server_name();
    let by_power: Level = levels.user(redaction.sender());
    version.rules().authorization.special_case_room_redaction
        || by_own_server
        || by_power >= levels.redact()
}

#[cfg(test)]
mod tests;
