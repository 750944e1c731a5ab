#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hearth_base::{ManualClock, Millis};
use ruma::{UserId, room_id, user_id};
use serde_json::{Value, json, value::to_raw_value};

use super::{BackupKeys, BackupPart};
use crate::{Error, Refusal, Users, keys::tests::fixture};

fn alice() -> &'static UserId {
    user_id!("@alice:hearth.test")
}

fn key(first: u64, forwarded: u64, verified: bool) -> Value {
    json!({
        "first_message_index": first, "forwarded_count": forwarded, "is_verified": verified,
        "session_data": { "ciphertext": "x", "ephemeral": "y", "mac": "z" },
    })
}

fn keys(sessions: &[(&str, Value)]) -> BackupKeys {
    let sessions = sessions.iter().map(|(session, key)| {
        let raw = ruma::serde::Raw::from_json(to_raw_value(key).unwrap());
        ((*session).to_owned(), raw)
    });
    BTreeMap::from([(room_id!("!r:hearth.test").to_owned(), sessions.collect())])
}

fn description(public_key: &str) -> String {
    let algorithm = "m.megolm_backup.v1.curve25519-aes-sha2";
    json!({ "algorithm": algorithm, "auth_data": { "public_key": public_key } }).to_string()
}

async fn stored(users: &Users, version: &str, session: &str) -> Value {
    let part = BackupPart::Session(room_id!("!r:hearth.test"), session);
    let found = users.backup_keys(alice(), version, part).await.unwrap();
    let key = &found[room_id!("!r:hearth.test")][session];
    serde_json::from_str(key.json().get()).unwrap()
}

#[tokio::test]
async fn the_better_key_stays() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let version = users
        .create_backup(alice(), &description("a"))
        .await
        .unwrap();
    let table = [
        // stored, uploaded, replaced
        (key(5, 5, false), key(5, 5, false), false),
        (key(5, 5, false), key(9, 9, true), true),
        (key(9, 9, true), key(5, 5, false), false),
        (key(5, 5, false), key(4, 9, false), true),
        (key(5, 5, false), key(6, 0, false), false),
        (key(5, 5, true), key(5, 4, true), true),
        (key(5, 5, true), key(5, 6, true), false),
    ];
    for (n, (old, new, replaced)) in table.into_iter().enumerate() {
        // Ids as they are: base64 with slashes and plus signs.
        let session = format!("s/{n}+=");
        let put = async |key: &Value| {
            let keys = keys(&[(&session, key.clone())]);
            users
                .put_backup_keys(alice(), &version, &keys)
                .await
                .unwrap()
        };
        let before = put(&old).await;
        let after = put(&new).await;
        assert_eq!(after.count, n as u64 + 1);
        assert_eq!(after.etag != before.etag, replaced, "row {n}");
        assert_eq!(
            stored(&users, &version, &session).await,
            if replaced { new } else { old }
        );
    }
}

#[tokio::test]
async fn versions_come_and_go() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    assert!(matches!(
        users.backup(alice(), None).await,
        Err(Error::NotFound(_))
    ));
    let first = users
        .create_backup(alice(), &description("a"))
        .await
        .unwrap();
    users
        .put_backup_keys(alice(), &first, &keys(&[("s", key(1, 1, true))]))
        .await
        .unwrap();
    let second = users
        .create_backup(alice(), &description("b"))
        .await
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(users.backup(alice(), None).await.unwrap().version, second);
    assert_eq!(
        users
            .backup(alice(), Some(&first))
            .await
            .unwrap()
            .size
            .count,
        1
    );

    let refused = users
        .put_backup_keys(alice(), &first, &keys(&[]))
        .await
        .unwrap_err();
    let Error::Refused {
        kind: Refusal::WrongRoomKeysVersion { current },
        ..
    } = refused
    else {
        unreachable!("the wrong refusal")
    };
    assert_eq!(current, Some(second.clone()));

    users
        .update_backup(alice(), &second, &description("c"))
        .await
        .unwrap();
    let data = users.backup(alice(), None).await.unwrap().auth_data;
    assert_eq!(data.get(), r#"{"public_key":"c"}"#);
    let other = json!({ "algorithm": "other", "auth_data": {} }).to_string();
    let refused = users
        .update_backup(alice(), &second, &other)
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        }
    ));

    users.delete_backup(alice(), &second).await.unwrap();
    users.delete_backup(alice(), &second).await.unwrap();
    assert!(matches!(
        users.delete_backup(alice(), "77").await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(users.backup(alice(), None).await.unwrap().version, first);
    let third = users
        .create_backup(alice(), &description("d"))
        .await
        .unwrap();
    assert!(third != first && third != second);
}

#[tokio::test]
async fn counts_follow_deletions() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let version = users
        .create_backup(alice(), &description("a"))
        .await
        .unwrap();
    let many: Vec<_> = (0..2_500)
        .map(|n| (format!("s{n}"), key(1, 1, true)))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, key)| (name.as_str(), key.clone()))
        .collect();
    let size = users
        .put_backup_keys(alice(), &version, &keys(&many))
        .await
        .unwrap();
    assert_eq!(size.count, 2_500);
    let room = room_id!("!r:hearth.test");
    let one = BackupPart::Session(room, "s7");
    let after = users
        .delete_backup_keys(alice(), &version, one)
        .await
        .unwrap();
    assert_eq!(after.count, 2_499);
    assert_ne!(after.etag, size.etag);
    let found = users
        .backup_keys(alice(), &version, BackupPart::All)
        .await
        .unwrap();
    assert_eq!(found[room].len(), 2_499);
    let after = users
        .delete_backup_keys(alice(), &version, BackupPart::Room(room))
        .await
        .unwrap();
    assert_eq!(after.count, 0);
    let again = users
        .delete_backup_keys(alice(), &version, BackupPart::All)
        .await
        .unwrap();
    assert_eq!(again, after);
}

#[tokio::test]
async fn concurrent_uploads_are_all_counted() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let version = users
        .create_backup(alice(), &description("a"))
        .await
        .unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (users, version) = (users.clone(), version.clone());
            tokio::spawn(async move {
                let session = format!("s{n}");
                let keys = keys(&[(&session, key(1, 1, true)), ("shared", key(1, n, true))]);
                users
                    .put_backup_keys(alice(), &version, &keys)
                    .await
                    .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(users.backup(alice(), None).await.unwrap().size.count, 9);
    assert_eq!(
        stored(&users, &version, "shared").await["forwarded_count"],
        0
    );
}
