#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use hearth_base::{ManualClock, Millis};
use hearth_store::{Batch, Direction};
use ruma::{OwnedUserId, UserId};

use super::{DEVICE_TOKENS, REFRESH_TOKENS};
use crate::{
    Error, Login, NewAccount, NewDevice, Refusal, Users, authentication::ACCESS_TOKENS,
    keys::tests::fixture,
};

async fn account(users: &Users) -> OwnedUserId {
    let user = users.local_user("alice").unwrap();
    let account = NewAccount::new(user.clone(), Some("secret".to_owned()));
    users.register(account, None).await.unwrap();
    user
}

fn named(device: &str) -> NewDevice {
    NewDevice {
        device_id: Some(device.into()),
        display_name: Some(format!("{device} of a test")),
        refreshable: false,
    }
}

fn refreshable(device: &str) -> NewDevice {
    NewDevice {
        refreshable: true,
        ..named(device)
    }
}

async fn login(users: &Users, user: &UserId, device: &NewDevice) -> Login {
    users
        .login(user, "secret".to_owned(), device)
        .await
        .unwrap()
}

async fn is_good(users: &Users, token: &str) -> bool {
    matches!(users.authenticate(token).await, Ok(Some(_)))
}

/// The number of records of tokens.
async fn records(users: &Users, user: &UserId) -> usize {
    let view = users.store.view().await.unwrap();
    let found = view
        .scan_prefix(&DEVICE_TOKENS, (user.as_str(),), Direction::Forward, 100)
        .await
        .unwrap();
    for ((_, _, kind, token), ()) in &found {
        let there = match kind {
            0 => view.get_bytes(&ACCESS_TOKENS, *token).await.unwrap(),
            _ => view.get_bytes(&REFRESH_TOKENS, *token).await.unwrap(),
        };
        assert!(there.is_some());
    }
    found.len()
}

#[tokio::test]
async fn a_login_names_its_user_and_device() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let wrong = users
        .login(&alice, "wrong".to_owned(), &NewDevice::default())
        .await
        .unwrap_err();
    assert!(matches!(wrong, Error::Forbidden(_)), "{wrong}");
    let done = login(&users, &alice, &named("PHONE")).await;
    let session = users
        .authenticate(&done.access_token)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.user_id, alice);
    assert_eq!(session.device_id, "PHONE");
    assert_eq!(users.authenticate("nonsense").await.unwrap(), None);
    let bad = named("");
    let bad = users.login(&alice, "secret".to_owned(), &bad).await;
    assert!(matches!(
        bad,
        Err(Error::Refused {
            kind: Refusal::InvalidParam,
            ..
        })
    ));
}

#[tokio::test]
async fn the_same_device_keeps_its_name_and_loses_its_old_token() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let first = login(&users, &alice, &named("PHONE")).await;
    assert!(is_good(&users, &first.access_token).await);
    let other = NewDevice {
        display_name: Some("other".to_owned()),
        ..named("PHONE")
    };
    let second = login(&users, &alice, &other).await;
    assert!(!is_good(&users, &first.access_token).await);
    assert!(is_good(&users, &second.access_token).await);
    let view = users.store.view().await.unwrap();
    let devices = users.devices(&view, &alice).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].display_name.as_deref(), Some("PHONE of a test"));
    assert_eq!(records(&users, &alice).await, 1);
}

#[tokio::test]
async fn a_deleted_device_is_logged_out_on_every_node() {
    let clock = ManualClock::at(Millis(1));
    let (_folder, users) = fixture(clock.clone());
    let other_node = Users::new(
        users.store.clone(),
        users.clock.clone(),
        users.rng.clone(),
        users.server_name.clone(),
        users.limits.clone(),
    );
    let alice = account(&users).await;
    let phone = login(&users, &alice, &refreshable("PHONE")).await;
    let laptop = login(&users, &alice, &named("LAPTOP")).await;
    for node in [&users, &other_node] {
        assert!(is_good(node, &phone.access_token).await);
        assert!(is_good(node, &laptop.access_token).await);
    }
    users
        .delete_devices(&alice, &["PHONE".into()])
        .await
        .unwrap();
    for node in [&users, &other_node] {
        assert!(!is_good(node, &phone.access_token).await);
        assert!(is_good(node, &laptop.access_token).await);
    }
    let refused = users.refresh(&phone.refresh_token.unwrap()).await;
    assert!(refused.is_err());
    assert_eq!(records(&users, &alice).await, 1);
}

#[tokio::test]
async fn an_expired_token_asks_for_a_refresh() {
    let clock = ManualClock::at(Millis(1));
    let (_folder, users) = fixture(clock.clone());
    let alice = account(&users).await;
    let first = login(&users, &alice, &refreshable("PHONE")).await;
    assert!(is_good(&users, &first.access_token).await);
    clock.advance(first.expires_in.unwrap() + Duration::from_millis(1));
    let expired = users.authenticate(&first.access_token).await.unwrap_err();
    assert!(matches!(
        expired,
        Error::Refused {
            kind: Refusal::UnknownToken { soft_logout: true },
            ..
        }
    ));
    let second = users.refresh(&first.refresh_token.unwrap()).await.unwrap();
    assert_eq!(second.device_id, "PHONE");
    assert!(is_good(&users, &second.access_token).await);
}

#[tokio::test]
async fn the_old_pair_is_good_until_the_new_one_is_used() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let first = login(&users, &alice, &refreshable("PHONE")).await;
    let refresh = first.refresh_token.unwrap();
    let lost = users.refresh(&refresh).await.unwrap();
    assert!(is_good(&users, &first.access_token).await);
    // The answer did not arrive: the client asks again, and the lost pair ceases.
    let second = users.refresh(&refresh).await.unwrap();
    assert!(!is_good(&users, &lost.access_token).await);
    assert!(is_good(&users, &first.access_token).await);
    assert!(is_good(&users, &second.access_token).await);
    assert!(!is_good(&users, &first.access_token).await);
    assert!(users.refresh(&refresh).await.is_err());
    assert_eq!(records(&users, &alice).await, 2);
}

#[tokio::test]
async fn to_refresh_a_refreshed_pair_ends_the_one_before() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let first = login(&users, &alice, &refreshable("PHONE")).await;
    let second = users.refresh(&first.refresh_token.unwrap()).await.unwrap();
    let third = users.refresh(&second.refresh_token.unwrap()).await.unwrap();
    assert!(!is_good(&users, &first.access_token).await);
    assert!(is_good(&users, &third.access_token).await);
    assert!(!is_good(&users, &second.access_token).await);
    assert_eq!(records(&users, &alice).await, 2);
}

#[tokio::test]
async fn a_device_is_seen_now_and_then() {
    let clock = ManualClock::at(Millis(1_000));
    let (_folder, users) = fixture(clock.clone());
    let alice = account(&users).await;
    let done = login(&users, &alice, &named("PHONE")).await;
    let seen = async || {
        let view = users.store.view().await.unwrap();
        let device = users.device(&view, &alice, "PHONE".into()).await.unwrap();
        device.unwrap().last_seen
    };
    assert_eq!(seen().await, Millis(1_000));
    clock.advance(Duration::from_secs(3_600));
    assert!(is_good(&users, &done.access_token).await);
    assert_eq!(seen().await, Millis(3_601_000));
}

#[tokio::test]
async fn a_device_is_seen_with_the_first_use_of_a_refreshed_pair() {
    let clock = ManualClock::at(Millis(1_000));
    let (_folder, users) = fixture(clock.clone());
    let alice = account(&users).await;
    let first = login(&users, &alice, &refreshable("PHONE")).await;
    clock.advance(Duration::from_secs(3_600));
    let second = users.refresh(&first.refresh_token.unwrap()).await.unwrap();
    assert!(is_good(&users, &second.access_token).await);
    assert!(!is_good(&users, &first.access_token).await);
    let view = users.store.view().await.unwrap();
    let device = users.device(&view, &alice, "PHONE".into()).await.unwrap();
    assert_eq!(device.unwrap().last_seen, Millis(3_601_000));
}

#[tokio::test]
async fn tokens_are_not_kept_in_the_clear() {
    let (folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users).await;
    let done = login(&users, &alice, &refreshable("PHONE")).await;
    users.store.commit(Batch::new()).await.unwrap();
    let secrets = [
        done.access_token,
        done.refresh_token.unwrap(),
        "secret".to_owned(),
    ];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            for secret in &secrets {
                let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
}
