#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use hearth_base::{Clock as _, ManualClock, Millis, SeededRng};
use hearth_protocol::SigningKey;
use hearth_store::{Batch, Direction, MemoryHints, Position, Store, View, engines::rocksdb};
use proptest::prelude::*;
use ruma::{
    DeviceId, OwnedUserId, UserId,
    api::client::keys::{upload_keys, upload_signatures, upload_signing_keys},
    server_name,
    signatures::to_canonical_json_string_for_signing,
    user_id,
};
use serde_json::{Value, json, value::to_raw_value};

use super::{OWN_CHANGES, note_change_for};
use crate::{Error, Limits, Refusal, SignatureFault, Users, device::plan_arrival};

/// A store in a folder that goes with the guard, and the users over it.
pub(crate) fn fixture(clock: ManualClock) -> (tempfile::TempDir, Users) {
    let folder = tempfile::tempdir().unwrap();
    let engine = rocksdb::open(rocksdb::Options::at(folder.path())).unwrap();
    let time = clock.clone();
    let hints = MemoryHints::new(move || time.now().0);
    let store = Store::new(engine, Arc::new(hints));
    let name = server_name!("hearth.test").to_owned();
    let rng = Arc::new(SeededRng::new(7));
    let users = Users::new(store, Arc::new(clock), rng, name, Limits::default());
    (folder, users)
}

/// Makes a device, which is named after itself.
pub(crate) async fn arrive(users: &Users, user: &UserId, name: &str) {
    let view = users.store.view().await.unwrap();
    let mut batch = Batch::new();
    plan_arrival(
        &view,
        &mut batch,
        user,
        device(name),
        Some(name),
        Millis(1),
        10,
    )
    .await
    .unwrap();
    users.store.commit(batch).await.unwrap();
}

fn alice() -> &'static UserId {
    user_id!("@alice:hearth.test")
}

fn bob() -> &'static UserId {
    user_id!("@bob:hearth.test")
}

fn device(name: &str) -> &DeviceId {
    name.into()
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn one_time_keys(names: impl IntoIterator<Item = (String, Value)>) -> upload_keys::v3::Request {
    let mut request = upload_keys::v3::Request::new();
    request.one_time_keys = names
        .into_iter()
        .map(|(name, key)| {
            let id = format!("signed_curve25519:{name}");
            (id.as_str().try_into().unwrap(), from_json(key))
        })
        .collect();
    request
}

async fn upload(
    users: &Users,
    user: &UserId,
    name: &str,
    request: &upload_keys::v3::Request,
) -> Result<bool, Error> {
    let view = users.store.view().await?;
    let mut batch = Batch::new();
    let changed = users
        .plan_key_upload(&view, &mut batch, user, device(name), request)
        .await?;
    users.store.commit(batch).await.unwrap();
    Ok(changed)
}

async fn view(users: &Users) -> View {
    users.store.view().await.unwrap()
}

async fn count(users: &Users, user: &UserId, name: &str) -> u64 {
    let view = view(users).await;
    let counts = users
        .device_one_time_keys_count(&view, user, device(name))
        .await
        .unwrap();
    counts[&"signed_curve25519".into()].into()
}

/// Claims one key and answers its id.
async fn claim(users: &Users, user: &UserId, name: &str) -> Option<String> {
    let devices = BTreeMap::from([(name.into(), "signed_curve25519".into())]);
    let wanted = BTreeMap::from([(user.to_owned(), devices)]);
    let claimed = users.claim_keys(&wanted).await.unwrap();
    let key = claimed.get(user)?.get(device(name))?.keys().next()?;
    Some(key.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// However many claim at the same time, each key goes to one of them, and none is left while somebody went without.
    #[test]
    fn every_one_time_key_is_claimed_exactly_once(keys in 1_usize..40, claims in 1_usize..60) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (mut got, left) = runtime.block_on(async {
            let (_folder, users) = fixture(ManualClock::at(Millis(1)));
            let names = (0..keys).map(|n| (format!("K{n}"), json!({ "key": format!("k{n}") })));
            upload(&users, alice(), "A", &one_time_keys(names)).await.unwrap();
            let tasks: Vec<_> = (0..claims)
                .map(|_| {
                    let users = users.clone();
                    tokio::spawn(async move { claim(&users, alice(), "A").await })
                })
                .collect();
            let mut got = Vec::new();
            for task in tasks {
                got.extend(task.await.unwrap());
            }
            (got, count(&users, alice(), "A").await)
        });
        let total = got.len();
        got.sort();
        got.dedup();
        prop_assert_eq!(got.len(), total, "a key was handed out twice");
        prop_assert_eq!(total, keys.min(claims));
        prop_assert_eq!(usize::try_from(left).unwrap(), keys - total);
    }
}

#[tokio::test]
async fn earlier_uploads_are_claimed_first_then_the_fallback_key() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    for name in ["Z", "A"] {
        let request = one_time_keys([(name.to_owned(), json!({ "key": name }))]);
        upload(&users, alice(), "A", &request).await.unwrap();
    }
    let mut fallback = upload_keys::v3::Request::new();
    let id = "signed_curve25519:F".try_into().unwrap();
    fallback
        .fallback_keys
        .insert(id, from_json(json!({ "key": "f", "fallback": true })));
    upload(&users, alice(), "A", &fallback).await.unwrap();
    let unused = users
        .unused_fallback_types(&view(&users).await, alice(), device("A"))
        .await
        .unwrap();
    assert_eq!(unused, ["signed_curve25519".into()]);

    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(claim(&users, alice(), "A").await.unwrap());
    }
    let expected = ["Z", "A", "F", "F"].map(|name| format!("signed_curve25519:{name}"));
    assert_eq!(got, expected);
    let unused = users
        .unused_fallback_types(&view(&users).await, alice(), device("A"))
        .await
        .unwrap();
    assert!(unused.is_empty());
    assert_eq!(claim(&users, alice(), "B").await, None);
}

#[tokio::test]
async fn a_one_time_key_is_not_replaced() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let key = |text: &str| one_time_keys([("K".to_owned(), json!({ "key": text }))]);
    upload(&users, alice(), "A", &key("x")).await.unwrap();
    upload(&users, alice(), "A", &key("x")).await.unwrap();
    assert_eq!(count(&users, alice(), "A").await, 1);
    let refused = upload(&users, alice(), "A", &key("y")).await.unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        }
    ));
}

/// A key that tests sign with.
struct Signer {
    key: SigningKey,
    user: OwnedUserId,
}

impl Signer {
    fn new(user: &UserId, seed: u8) -> Self {
        let key = SigningKey::generate(server_name!("hearth.test"), "ed25519:x", [seed; 32]);
        Self {
            key: key.unwrap(),
            user: user.to_owned(),
        }
    }

    fn public(&self) -> String {
        self.key.verify_key().encode()
    }

    /// `object` with a signature of this key under the name `id`.
    fn sign(&self, mut object: Value, id: &str) -> Value {
        let text = to_canonical_json_string_for_signing(&from_json(object.clone())).unwrap();
        let signature = self.key.sign_bytes(text.as_bytes());
        object["signatures"][self.user.as_str()][format!("ed25519:{id}")] = signature.into();
        object
    }

    fn cross_signing_key(&self, usage: &str) -> Value {
        let public = self.public();
        json!({
            "user_id": self.user, "usage": [usage],
            "keys": { format!("ed25519:{public}"): public },
        })
    }

    fn device_keys(&self, device: &str) -> Value {
        json!({
            "user_id": self.user, "device_id": device, "algorithms": ["m.megolm.v1.aes-sha2"],
            "keys": { format!("ed25519:{device}"): self.public() }, "signatures": {},
        })
    }
}

/// A user's three keys.
struct Identity {
    master: Signer,
    own: Signer,
    others: Signer,
}

impl Identity {
    fn new(user: &UserId, seed: u8) -> Self {
        let signer = |n| Signer::new(user, seed + n);
        Self {
            master: signer(0),
            own: signer(1),
            others: signer(2),
        }
    }

    fn request(&self) -> upload_signing_keys::v3::Request {
        let id = self.master.public();
        let mut request = upload_signing_keys::v3::Request::new();
        request.master_key = Some(from_json(self.master.cross_signing_key("master")));
        let signed = |key: Value| Some(from_json(self.master.sign(key, &id)));
        request.self_signing_key = signed(self.own.cross_signing_key("self_signing"));
        request.user_signing_key = signed(self.others.cross_signing_key("user_signing"));
        request
    }
}

async fn publish(
    users: &Users,
    user: &UserId,
    request: &upload_signing_keys::v3::Request,
) -> Result<bool, Error> {
    let view = users.store.view().await?;
    let mut batch = Batch::new();
    let changed = users
        .plan_cross_signing(&view, &mut batch, user, request)
        .await?;
    users.store.commit(batch).await.unwrap();
    Ok(changed)
}

#[tokio::test]
async fn only_replacing_cross_signing_keys_needs_a_password() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let request = Identity::new(alice(), 10).request();
    let needs = async |request: &_| {
        users
            .cross_signing_needs_auth(&view(&users).await, alice(), request)
            .await
            .unwrap()
    };
    assert!(!needs(&request).await);
    assert!(publish(&users, alice(), &request).await.unwrap());
    assert!(!needs(&request).await);
    assert!(!publish(&users, alice(), &request).await.unwrap());
    assert!(needs(&Identity::new(alice(), 20).request()).await);
}

#[tokio::test]
async fn cross_signing_keys_are_signed_by_the_master_key() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let mut without = Identity::new(alice(), 10).request();
    without.master_key = None;
    let refused = publish(&users, alice(), &without).await.unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Refusal::MissingParam,
            ..
        }
    ));
    let mut mixed = Identity::new(alice(), 10).request();
    mixed.self_signing_key = Identity::new(alice(), 20).request().self_signing_key;
    let refused = publish(&users, alice(), &mixed).await.unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Refusal::InvalidSignature,
            ..
        }
    ));
    let refused = publish(&users, bob(), &Identity::new(alice(), 10).request())
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        }
    ));
}

async fn add_signatures(users: &Users, signer: &UserId, keys: Value) -> crate::SignatureOutcome {
    let request = upload_signatures::v3::Request::new(from_json(keys));
    let view = view(users).await;
    let mut batch = Batch::new();
    let outcome = users
        .plan_signatures(&view, &mut batch, signer, &request)
        .await
        .unwrap();
    users.store.commit(batch).await.unwrap();
    outcome
}

#[tokio::test]
async fn signatures_count_only_from_the_keys_that_may_make_them() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let (a, b) = (Identity::new(alice(), 10), Identity::new(bob(), 20));
    publish(&users, alice(), &a.request()).await.unwrap();
    publish(&users, bob(), &b.request()).await.unwrap();
    arrive(&users, alice(), "PHONE").await;
    let phone = Signer::new(alice(), 30);
    let keys = phone.device_keys("PHONE");
    let mut request = upload_keys::v3::Request::new();
    request.device_keys = Some(ruma::serde::Raw::from_json(to_raw_value(&keys).unwrap()));
    assert!(upload(&users, alice(), "PHONE", &request).await.unwrap());
    assert!(!upload(&users, alice(), "PHONE", &request).await.unwrap());

    // By the self-signing key on the device: right. By the master key: nobody's business.
    let signed = a.own.sign(keys.clone(), &a.own.public());
    let before = view(&users).await.position();
    let outcome = add_signatures(&users, alice(), json!({ alice(): { "PHONE": signed } })).await;
    assert!(outcome.failures.is_empty() && outcome.changed);
    let after = view(&users).await;
    let changed = users
        .own_device_changes(&after, alice(), before)
        .await
        .unwrap();
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), [alice()]);
    let signed = a.master.sign(keys.clone(), &a.master.public());
    let outcome = add_signatures(&users, alice(), json!({ alice(): { "PHONE": signed } })).await;
    assert_eq!(outcome.failures[alice()]["PHONE"], SignatureFault::Invalid);

    // A forged one, and one on a key that is not there.
    let forged = phone.sign(keys.clone(), &a.own.public());
    let outcome = add_signatures(
        &users,
        alice(),
        json!({ alice(): { "PHONE": forged, "TABLET": keys } }),
    )
    .await;
    assert_eq!(outcome.failures[alice()]["PHONE"], SignatureFault::Invalid);
    assert_eq!(
        outcome.failures[alice()]["TABLET"],
        SignatureFault::NotFound
    );

    // Bob signs Alice's master key; Alice does not see it, Bob does.
    let id = a.master.public();
    let master = b
        .others
        .sign(a.master.cross_signing_key("master"), &b.others.public());
    let mut theirs = master.clone();
    theirs["signatures"][bob().as_str()]["ed25519:other"] = "AAAA".into();
    let outcome = add_signatures(&users, bob(), json!({ alice(): { id: theirs } })).await;
    assert!(outcome.failures.is_empty() && !outcome.changed);
    let wanted = BTreeMap::from([(alice().to_owned(), vec![])]);
    let now = view(&users).await;
    let seen = async |asker| {
        let answer = users.query_keys(&now, asker, &wanted).await.unwrap();
        let key: Value = from_json(serde_json::to_value(&answer.master_keys[alice()]).unwrap());
        (
            key["signatures"][bob().as_str()].clone(),
            answer.user_signing_keys.len(),
        )
    };
    assert_eq!(
        seen(bob()).await,
        (master["signatures"][bob().as_str()].clone(), 0)
    );
    assert_eq!(seen(alice()).await, (Value::Null, 1));
    let answer = users.query_keys(&now, bob(), &wanted).await.unwrap();
    let shown = serde_json::to_value(&answer.device_keys[alice()][device("PHONE")]).unwrap();
    assert_eq!(shown["unsigned"]["device_display_name"], "PHONE");
    let id = format!("ed25519:{}", a.own.public());
    assert!(shown["signatures"][alice().as_str()][id].is_string());

    // With the device goes all that was of it.
    let mut batch = Batch::new();
    users
        .plan_device_removal(&now, &mut batch, alice(), device("PHONE"))
        .await
        .unwrap();
    users.store.commit(batch).await.unwrap();
    let answer = users
        .query_keys(&view(&users).await, bob(), &wanted)
        .await
        .unwrap();
    assert!(answer.device_keys[alice()].is_empty());
}

/// However often keys change, one record of each user is kept, and whoever asks since any earlier moment finds it.
#[tokio::test]
async fn the_last_change_of_keys_is_all_that_is_kept() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let mut moments = vec![view(&users).await.position()];
    for _ in 0..20 {
        let mut batch = Batch::new();
        note_change_for(&mut batch, alice(), alice());
        note_change_for(&mut batch, alice(), bob());
        note_change_for(&mut batch, bob(), bob());
        users.store.commit(batch).await.unwrap();
        moments.push(view(&users).await.position());
    }
    let now = view(&users).await;
    let kept: Vec<((String, String), Position)> = now
        .scan_prefix(&OWN_CHANGES, (alice().as_str(),), Direction::Forward, 100)
        .await
        .unwrap();
    assert_eq!(kept.len(), 3, "two users, and the newest: {kept:?}");
    let last = moments.pop().unwrap();
    for since in moments {
        let changed = users.own_device_changes(&now, alice(), since).await;
        assert!(changed.unwrap().iter().eq([alice(), bob()]));
    }
    let changed = users.own_device_changes(&now, alice(), last).await;
    assert!(changed.unwrap().is_empty());
}
