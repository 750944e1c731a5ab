//! Owns the list of a server's keys: reading and checking one, making this server's own. Must never take a key from a list
//! that is not signed with a key of the list itself.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#publishing-keys>

use std::{collections::BTreeMap, time::Duration};

use hearth_base::Millis;
use hearth_protocol::{PublicKeys, SigningKey, parse_object, sign_json, to_text, verify_json};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedServerSigningKeyId, ServerName,
    ServerSigningKeyId, api::federation::discovery::ServerSigningKeys, serde::Base64,
};

/// How long a list is believed at most, whatever it says.
const MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many keys of a server are looked at.
const MAX_KEYS: usize = 100;

/// How long this server's own list is good.
const OWN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A list that the server signed.
#[derive(Clone, Debug)]
pub struct KeyList {
    /// Until when the keys that are in use are good.
    pub valid_until: Millis,
    /// Key id to the key and, for one no longer in use, the moment at which it ceased to be good.
    keys: BTreeMap<OwnedServerSigningKeyId, (Base64, Option<Millis>)>,
    /// As the server signed it, for those who ask this server as a notary.
    pub(crate) json: CanonicalJsonObject,
}

impl KeyList {
    /// Reads a list and checks that it is of the server and signed by it. `now` bounds how long it is believed.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn checked(server: &ServerName, json: &[u8], now: Millis) -> Result<Self, String> {
        let mut list = Self::read(server, json)?;
        let keys = list
            .keys
            .iter()
            .filter(|(_, (_, expired))| expired.is_none());
        let mut own = BTreeMap::new();
        for (id, (key, _)) in keys {
            own.insert(id.as_str().to_owned(), key.clone());
        }
        let signed = list
            .json
            .get("signatures")
            .and_then(|signatures| signatures.as_object()?.get(server.as_str())?.as_object());
        // A signature with a key that is not on the list proves nothing, and is no reason to refuse the others.
        let narrowed: CanonicalJsonObject = signed
            .into_iter()
            .flatten()
            .filter(|(id, _)| own.contains_key(*id))
            .map(|(id, signature)| (id.clone(), signature.clone()))
            .collect();
        if narrowed.is_empty() {
            return Err("it is not signed with one of its keys".to_owned());
        }
        let mut object = list.json.clone();
        let signatures =
            CanonicalJsonObject::from([(server.to_string(), CanonicalJsonValue::Object(narrowed))]);
        object.insert("signatures".to_owned(), signatures.into());
        let keys = PublicKeys::from([(server.to_string(), own)]);
        verify_json(&object, server, &keys).map_err(|e| e.to_string())?;
        list.valid_until = list.valid_until.min(now.after(MOST));
        Ok(list)
    }

    /// Reads a list that was checked when it was kept.
    pub(crate) fn kept(server: &ServerName, text: &str) -> Result<Self, String> {
        let (until, json) = text.split_once(' ').ok_or("it has no date")?;
        let until: u64 = until.parse().map_err(|_| "its date is no number")?;
        let mut list = Self::read(server, json.as_bytes())?;
        list.valid_until = list.valid_until.min(Millis(until));
        Ok(list)
    }

    /// The form that [`KeyList::kept`] reads.
    pub(crate) fn kept_form(&self) -> String {
        // An object that was parsed is one that can be written.
        let json = to_text(&self.json).unwrap_or_default();
        format!("{} {json}", self.valid_until)
    }

    fn read(server: &ServerName, json: &[u8]) -> Result<Self, String> {
        let object = parse_object(json).map_err(|e| e.to_string())?;
        let said: ServerSigningKeys = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if said.server_name != *server {
            return Err(format!("it is one of {}", said.server_name));
        }
        let used = said
            .verify_keys
            .into_iter()
            .map(|(id, key)| (id, (key.key, None)));
        let old = said.old_verify_keys.into_iter().map(|(id, key)| {
            let expired = Millis(key.expired_ts.get().into());
            (id, (key.key, Some(expired)))
        });
        // The keys in use come last, so that they win.
        let old: Vec<_> = old.take(MAX_KEYS).collect();
        Ok(Self {
            valid_until: Millis(said.valid_until_ts.get().into()),
            keys: old.into_iter().chain(used.take(MAX_KEYS)).collect(),
            json: object,
        })
    }

    /// The key, if it is good at that moment.
    #[must_use]
    pub fn key_at(&self, id: &ServerSigningKeyId, moment: Millis) -> Option<&Base64> {
        let (key, expired) = self.keys.get(id)?;
        let until = expired.unwrap_or(self.valid_until);
        (moment <= until).then_some(key)
    }
}

/// This server's own list, signed.
///
/// # Errors
/// Never, but for a key that cannot sign.
pub fn own_list(key: &SigningKey, now: Millis) -> Result<CanonicalJsonObject, String> {
    let until = now.after(OWN_LIFETIME);
    let verify_keys = CanonicalJsonObject::from([(
        key.id().as_str().to_owned(),
        CanonicalJsonObject::from([("key".to_owned(), key.verify_key().encode().into())]).into(),
    )]);
    let until = ruma::Int::new_saturating(i64::try_from(until.0).unwrap_or(i64::MAX));
    let mut object = CanonicalJsonObject::from([
        ("server_name".to_owned(), key.server().as_str().into()),
        ("verify_keys".to_owned(), verify_keys.into()),
        (
            "old_verify_keys".to_owned(),
            CanonicalJsonObject::new().into(),
        ),
        (
            "valid_until_ts".to_owned(),
            CanonicalJsonValue::Integer(until),
        ),
    ]);
    sign_json(&mut object, key).map_err(|e| e.to_string())?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ruma::server_name;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate(server_name!("a.org"), "ed25519:k", [seed; 32]).unwrap()
    }

    fn text(object: &CanonicalJsonObject) -> Vec<u8> {
        to_text(object).unwrap().into_bytes()
    }

    #[test]
    fn a_list_is_believed_as_far_as_it_goes() {
        let now = Millis(1_000_000);
        let key = key(1);
        let own = own_list(&key, now).unwrap();
        let list = KeyList::checked(server_name!("a.org"), &text(&own), now).unwrap();
        assert_eq!(list.key_at(key.id(), now), Some(&key.verify_key()));
        assert_eq!(list.key_at(key.id(), now.after(OWN_LIFETIME * 2)), None);
        let kept = KeyList::kept(server_name!("a.org"), &list.kept_form()).unwrap();
        assert_eq!(kept.key_at(key.id(), now), Some(&key.verify_key()));
        assert_eq!(kept.json, own);
        // A list that claims to be good for ever is believed for a week.
        let mut long = own.clone();
        long.insert(
            "valid_until_ts".to_owned(),
            CanonicalJsonValue::Integer(ruma::Int::MAX),
        );
        sign_json(&mut long, &key).unwrap();
        let list = KeyList::checked(server_name!("a.org"), &text(&long), now).unwrap();
        assert_eq!(list.valid_until, now.after(MOST));
    }

    #[test]
    fn lists_of_others_and_forged_ones_are_refused() {
        let now = Millis(1_000_000);
        let own = own_list(&key(1), now).unwrap();
        KeyList::checked(server_name!("b.org"), &text(&own), now).unwrap_err();
        let mut forged = own.clone();
        forged.insert(
            "valid_until_ts".to_owned(),
            CanonicalJsonValue::Integer(ruma::int!(5)),
        );
        KeyList::checked(server_name!("a.org"), &text(&forged), now).unwrap_err();
        let mut foreign = own.clone();
        foreign.remove("signatures");
        sign_json(&mut foreign, &key(2)).unwrap();
        KeyList::checked(server_name!("a.org"), &text(&foreign), now).unwrap_err();
        foreign.remove("signatures");
        KeyList::checked(server_name!("a.org"), &text(&foreign), now).unwrap_err();
        KeyList::checked(server_name!("a.org"), b"{}", now).unwrap_err();
        KeyList::checked(server_name!("a.org"), b"\xff", now).unwrap_err();
    }

    #[test]
    fn a_key_out_of_use_is_good_for_its_own_time() {
        let now = Millis(1_000_000);
        let (old, new) = (
            key(1),
            SigningKey::generate(server_name!("a.org"), "ed25519:n", [2; 32]).unwrap(),
        );
        let mut list = own_list(&new, now).unwrap();
        let entry = serde_json::json!({ "ed25519:k": { "key": old.verify_key().encode(), "expired_ts": 500 } });
        list.insert("old_verify_keys".to_owned(), entry.try_into().unwrap());
        list.remove("signatures");
        sign_json(&mut list, &new).unwrap();
        let list = KeyList::checked(server_name!("a.org"), &text(&list), now).unwrap();
        assert!(list.key_at(old.id(), Millis(500)).is_some());
        assert!(list.key_at(old.id(), Millis(501)).is_none());
        assert!(list.key_at(new.id(), now).is_some());
    }
}
