//! Target: signatures. Whatever byte of signed content changes, and whoever signs in another's name, it is refused; a key is
//! good for its own time.

use std::sync::OnceLock;

use hearth_base::Millis;
use hearth_federation::reach::{KeyList, decisions::own_list};
use hearth_protocol::{
    Depth, Draft, Pdu, PublicKeys, RoomVersion, SigningKey, countersign, parse_object, redact,
    seal, sign_json, to_text, verify_event, verify_json, verify_signatures,
};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId,
    RoomId, ServerName, UInt, UserId,
};
use serde_json::{Value, value::to_raw_value};

use crate::{
    Outcome,
    events::{TYPES, content, number},
    oracle::{self, Json, Object},
    source::Source,
};

/// The servers that sign here.
const SERVERS: [&str; 3] = ["a.test", "b.test", "c.test:8448"];

/// The key of a server. They are made once: they are the same for every input.
pub(crate) fn key_of(server: usize) -> Result<&'static SigningKey, String> {
    static KEYS: OnceLock<Vec<SigningKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let keys = SERVERS.iter().zip(1_u8..).map(|(name, seed)| {
            let name = <&ServerName>::try_from(*name).ok()?;
            SigningKey::generate(name, "ed25519:k", [seed; 32]).ok()
        });
        keys.flatten().collect()
    });
    keys.get(server).ok_or_else(|| "there is no key".to_owned())
}

pub(crate) fn run(source: &Source) -> Outcome {
    match source.pick(5) {
        0 => key_list(source),
        1 => object(source),
        2 => forged_origin(source),
        _ => changed_byte(source),
    }
}

fn all_keys() -> Result<PublicKeys, String> {
    let mut keys = PublicKeys::new();
    for server in 0..SERVERS.len() {
        let key = key_of(server)?;
        let own = keys.entry(key.server().to_string()).or_default();
        own.insert(key.id().to_string(), key.verify_key());
    }
    Ok(keys)
}

/// An event of a user of one server, signed by another or the same.
fn sealed(
    source: &Source,
    version: RoomVersion,
    sender: usize,
    signer: usize,
) -> Result<Option<Pdu>, String> {
    let kind = source.one_of(&TYPES);
    let content = content(source, kind);
    let raw = to_raw_value(&content).map_err(|e| e.to_string())?;
    let user = UserId::parse(format!("@u:{}", SERVERS[sender])).map_err(|e| e.to_string())?;
    let now = MilliSecondsSinceUnixEpoch(UInt::new_saturating(source.number() >> 20));
    let mut draft = Draft::new(user, kind, raw, now);
    let ids = |count: usize| -> Vec<OwnedEventId> {
        let id = |_| EventId::parse(format!("${}:a.test", source.opaque(8))).ok();
        (0..count).filter_map(id).collect()
    };
    let hashed = version.has_hashed_room_ids();
    draft.room_id = match hashed && kind == "m.room.create" {
        true => None,
        false => RoomId::parse("!r:a.test").ok(),
    };
    draft.state_key = (!source.once_in(3)).then(String::new);
    if hashed && kind == "m.room.create" {
        draft.state_key = Some(String::new());
    }
    draft.prev_events = ids(source.pick(4));
    draft.auth_events = ids(source.pick(4));
    draft.redacts = ids(source.pick(2)).pop();
    draft.depth = Depth(source.number() >> source.pick(64));
    draft.local_id = source.opaque(5);
    let is_readable = content["membership"].is_string()
        && content
            .get("third_party_invite")
            .is_none_or(Value::is_object);
    if kind == "m.room.member" && !is_readable {
        // Who has to sign it, nobody can tell.
        return Ok(None);
    }
    Ok(seal(draft, version, key_of(signer)?).ok())
}

fn read(pdu: &Pdu) -> Result<Object, String> {
    let read = oracle::read(pdu.json().as_bytes());
    Ok(read.ok_or("it is no canonical JSON")?.0)
}

/// The servers that have to sign an event, nothing for a name that is none.
fn signers(event: &Object, version: u32) -> Vec<Option<&str>> {
    let text = |object: &Object, name: &str| match object.get(name) {
        Some(Json::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let server = |id: &Json| {
        let (_, server) = id.text()?.split_once(':')?;
        SERVERS.into_iter().find(|known| *known == server)
    };
    let content = event.get("content").and_then(Json::object);
    let mut signers = Vec::new();
    let is_invite = content.is_some_and(|content| {
        text(event, "type").as_deref() == Some("m.room.member")
            && text(content, "membership").as_deref() == Some("invite")
            && content
                .get("third_party_invite")
                .is_some_and(|invite| invite.object().is_some())
    });
    if !is_invite {
        signers.push(event.get("sender").and_then(server));
    }
    if version <= 2 {
        signers.push(event.get("event_id").and_then(server));
    }
    if version >= 8
        && let Some(voucher) = content.and_then(|it| it.get("join_authorised_via_users_server"))
    {
        // What is no user id names nobody.
        let is_user = voucher.text().is_some_and(|id| id.starts_with('@'));
        signers.push(is_user.then(|| server(voucher)).flatten());
    }
    signers
}

/// An event that is signed rightly, and the same with something changed.
fn changed_byte(source: &Source) -> Outcome {
    let version = RoomVersion::ALL[source.pick(12)];
    let Some(pdu) = sealed(source, version, 0, 0)? else {
        return Ok(false);
    };
    let keys = all_keys()?;
    let object = read(&pdu)?;
    let needs = signers(&object, number(version));
    let enough = needs.iter().all(|server| *server == Some(SERVERS[0]));
    let verified = verify_event(&pdu, version, &keys);
    if verified.as_ref().is_ok_and(|kept| *kept == pdu) != enough {
        return Err(format!(
            "signed rightly it gives {verified:?}: {}",
            pdu.json()
        ));
    }
    if !enough {
        return Ok(false);
    }
    for _ in 0..3 {
        let mut bytes = pdu.json().as_bytes().to_vec();
        let at = source.pick(bytes.len());
        let before = bytes[at];
        bytes[at] = match source.once_in(2) {
            true => before ^ (1 << source.pick(7)),
            false => b"0123456789abcAZ\"{}[],:\\ "[source.pick(24)],
        };
        source.tell(|| format!("version {version}: {}", String::from_utf8_lossy(&bytes)));
        if let Ok(changed) = Pdu::parse(&bytes, version) {
            judge(&pdu, &changed, version, &keys)?;
        }
    }
    Ok(true)
}

/// What has to become of an event after a change.
fn judge(pdu: &Pdu, changed: &Pdu, version: RoomVersion, keys: &PublicKeys) -> Result<(), String> {
    let (before, after) = (read(pdu)?, read(changed)?);
    let number = number(version);
    let text = |object: &Object| oracle::signed_text(object, number);
    let verified = verify_event(changed, version, keys);
    let wrong = |what: &str| Err(format!("{what}: {}", changed.json()));
    if text(&before) != text(&after) {
        if signers(&after, number).is_empty() {
            // An invite by another name is vouched for by who signed that name: the auth rules see to it.
            return Ok(());
        }
        return match verified {
            Ok(_) => wrong("signed content changed, and it is accepted"),
            Err(_) if verify_signatures(changed, version, keys).is_ok() => {
                wrong("signed content changed, and the signature holds")
            }
            Err(_) => Ok(()),
        };
    }
    let signature = |object: &Object| object.get("signatures").cloned();
    if signature(&before) != signature(&after) {
        // Another way to write the same signature is no forgery; no more than the signature may differ.
        return Ok(());
    }
    let same = oracle::content_hash(&before) == oracle::content_hash(&after);
    match verified {
        // A field that nothing protects names another server that has to sign.
        Err(_) if signers(&before, number) != signers(&after, number) => Ok(()),
        Ok(kept) if same && kept == *changed => Ok(()),
        Ok(kept) if !same => {
            let left = redact(pdu, version, None).map_err(|e| e.to_string())?;
            match kept.json() == left.json() {
                true => Ok(()),
                false => wrong("content that is not signed is kept"),
            }
        }
        _ => wrong("nothing that is signed changed, and it is refused"),
    }
}

/// Events whose sender, id or voucher is not of the server that signed.
fn forged_origin(source: &Source) -> Outcome {
    let version = RoomVersion::ALL[source.pick(12)];
    let keys = all_keys()?;
    let (victim, forger) = (source.pick(2), 2);
    let Some(forged) = sealed(source, version, victim, forger)? else {
        return Ok(false);
    };
    source.tell(|| format!("version {version}: {}", forged.json()));
    let object = read(&forged)?;
    let needs = signers(&object, number(version));
    if !needs.contains(&Some(SERVERS[victim])) {
        return Ok(false);
    }
    if verify_event(&forged, version, &keys).is_ok() {
        return Err(format!("signed by another server: {}", forged.json()));
    }
    // The forger's signature under the name of the victim, with its own key id or the victim's.
    let mut relabelled = object.clone();
    let Some(Json::Object(signatures)) = relabelled.get_mut("signatures") else {
        return Err("it carries no signatures".to_owned());
    };
    let own = signatures.remove(SERVERS[forger]).unwrap_or(Json::Null);
    signatures.insert(SERVERS[victim].to_owned(), own.clone());
    if source.once_in(2) {
        signatures.insert(SERVERS[forger].to_owned(), own);
    }
    if let Ok(relabelled) = Pdu::parse(oracle::write(&relabelled).as_bytes(), version)
        && verify_event(&relabelled, version, &keys).is_ok()
    {
        return Err(format!(
            "signed with another server's key: {}",
            relabelled.json()
        ));
    }
    // Signed by both, it is good, unless it names a third that has to sign, or its id is one of the forger's.
    let Ok(both) = countersign(&forged, version, key_of(victim)?) else {
        // Too long with two.
        return Ok(true);
    };
    let signed = [Some(SERVERS[victim]), Some(SERVERS[forger])];
    let enough = needs.iter().all(|server| signed.contains(server));
    match verify_event(&both, version, &keys).is_ok() == enough {
        true => Ok(true),
        false => Err(format!("of {needs:?} {signed:?} signed: {}", both.json())),
    }
}

/// An object that is no event.
fn object(source: &Source) -> Outcome {
    let Ok(mut object) = parse_object(Value::Object(source.object(3)).to_string().as_bytes())
    else {
        return Ok(false);
    };
    let key = key_of(0)?;
    if sign_json(&mut object, key).is_err() {
        return Ok(false);
    }
    let keys = all_keys()?;
    verify_json(&object, key.server(), &keys).map_err(|e| format!("signed rightly: {e}"))?;
    let text = to_text(&object).map_err(|e| e.to_string())?;
    let mut bytes = text.clone().into_bytes();
    source.spoil(&mut bytes);
    let Ok(changed) = parse_object(&bytes) else {
        return Ok(true);
    };
    let bare = |object: &CanonicalJsonObject| {
        let mut object = object.clone();
        object.remove("signatures");
        object.remove("unsigned");
        object
    };
    source.tell(|| String::from_utf8_lossy(&bytes).into_owned());
    let holds = verify_json(&changed, key.server(), &keys).is_ok();
    if holds && bare(&changed) != bare(&object) {
        return Err(format!("{text} was signed, and {changed:?} is accepted"));
    }
    let other = <&ServerName>::try_from(SERVERS[1]).map_err(|e| e.to_string())?;
    match verify_json(&changed, other, &keys).is_ok() {
        true => Err(format!("{changed:?} is said to be signed by {other}")),
        false => Ok(true),
    }
}

/// The list of a server's keys.
fn key_list(source: &Source) -> Outcome {
    let now = Millis(1_000_000_000 + source.number() % 1_000_000_000);
    let key = key_of(0)?;
    let mut list = own_list(key, now)?;
    if source.once_in(2) {
        let until = ruma::Int::new_saturating(source.integer());
        list.insert(
            "valid_until_ts".to_owned(),
            CanonicalJsonValue::Integer(until),
        );
        list.remove("signatures");
        sign_json(&mut list, key).map_err(|e| e.to_string())?;
    }
    let text = to_text(&list).map_err(|e| e.to_string())?;
    let week = 7 * 24 * 60 * 60 * 1000;
    let bounded = |list: &KeyList| {
        let late = Millis(now.0 + week + 1 + (source.number() >> 20));
        list.valid_until.0 <= now.0 + week && list.key_at(key.id(), late).is_none()
    };
    if let Ok(list) = KeyList::checked(key.server(), text.as_bytes(), now)
        && !bounded(&list)
    {
        return Err(format!("{text} is believed for more than a week"));
    }
    let mut bytes = text.clone().into_bytes();
    match source.once_in(4) {
        true => source.spoil(&mut bytes),
        false => {
            let at = source.pick(bytes.len());
            bytes[at] = b"0123456789abAZ\"{},:"[source.pick(19)];
        }
    }
    source.tell(|| String::from_utf8_lossy(&bytes).into_owned());
    let Ok(changed) = KeyList::checked(key.server(), &bytes, now) else {
        return Ok(false);
    };
    let mut after = parse_object(&bytes).map_err(|e| e.to_string())?;
    for field in ["signatures", "unsigned"] {
        list.remove(field);
        after.remove(field);
    }
    match after == list && bounded(&changed) {
        true => Ok(true),
        false => Err(format!("of {text}, {after:?} is believed")),
    }
}
