#![allow(clippy::unwrap_used)]

use hearth_base::{ManualClock, Millis};
use hearth_store::{Batch, Position};
use ruma::{OwnedUserId, UserId};
use serde_json::{json, value::to_raw_value};

use crate::{
    Error, NewAccount, NewDevice, Refusal, RegistrationToken, Users, keys::tests::fixture,
};

fn clock() -> ManualClock {
    ManualClock::at(Millis(1_000))
}

fn kind(error: &Error) -> Option<&Refusal> {
    match error {
        Error::Refused { kind, .. } => Some(kind),
        _ => None,
    }
}

async fn make(users: &Users, name: &str) -> OwnedUserId {
    let user = users.check_name(name).await.unwrap();
    let account = NewAccount::new(user.clone(), Some("secret".to_owned()));
    users.register(account, None).await.unwrap();
    user
}

async fn set_password(users: &Users, user: &UserId, password: &str) {
    let hashed = users.hash_password(password.to_owned()).await.unwrap();
    let view = users.store.view().await.unwrap();
    let mut batch = Batch::new();
    users
        .plan_password(&view, &mut batch, user, &hashed)
        .await
        .unwrap();
    users.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_name_is_given_once_in_lower_case() {
    let (_folder, users) = fixture(clock());
    let alice = make(&users, "Alice").await;
    assert_eq!(alice, "@alice:hearth.test");
    for taken in ["alice", "ALICE", "@alice:hearth.test"] {
        let error = users.check_name(taken).await.unwrap_err();
        assert_eq!(kind(&error), Some(&Refusal::UserInUse), "{taken}");
    }
    for bad in ["", "a b", "ä", "a:b", "@a:elsewhere.test", "a\0", "!"] {
        let error = users.check_name(bad).await.unwrap_err();
        assert_eq!(kind(&error), Some(&Refusal::InvalidUsername), "{bad}");
    }
    let long = "a".repeat(300);
    let error = users.check_name(&long).await.unwrap_err();
    assert_eq!(kind(&error), Some(&Refusal::InvalidUsername));
    let again = NewAccount::new(alice, None);
    let error = users.register(again, None).await.unwrap_err();
    assert_eq!(kind(&error), Some(&Refusal::UserInUse));
}

#[tokio::test]
async fn passwords_are_checked_changed_and_limited() {
    let (_folder, users) = fixture(clock());
    let alice = make(&users, "alice").await;
    let nobody = users.local_user("nobody").unwrap();
    let check = async |user: &UserId, word: &str| {
        users.check_password(user, word.to_owned()).await.unwrap()
    };
    assert!(check(&alice, "secret").await);
    assert!(!check(&alice, "Secret").await);
    assert!(!check(&nobody, "secret").await);
    set_password(&users, &alice, "другой пароль").await;
    assert!(!check(&alice, "secret").await);
    assert!(check(&alice, "другой пароль").await);
    let empty = users.hash_password(String::new()).await.err().unwrap();
    assert_eq!(kind(&empty), Some(&Refusal::WeakPassword));
    let long = users.hash_password("x".repeat(2_000)).await.err().unwrap();
    assert_eq!(kind(&long), Some(&Refusal::TooLarge));
}

#[tokio::test]
async fn of_many_who_want_one_name_one_gets_it() {
    let (_folder, users) = fixture(clock());
    let user = users.local_user("alice").unwrap();
    let tries = (0..8).map(|_| users.register(NewAccount::new(user.clone(), None), None));
    let made = futures_util::future::join_all(tries).await;
    assert_eq!(made.iter().filter(|result| result.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_registration_token_admits_as_many_as_it_says() {
    let (_folder, users) = fixture(clock());
    let token = RegistrationToken {
        token: "welcome".to_owned(),
        uses_allowed: Some(2),
        completed: 0,
        expires: Some(Millis(5_000)),
    };
    users.put_registration_token(token).await.unwrap();
    assert!(users.registration_token_is_good("welcome").await.unwrap());
    assert!(!users.registration_token_is_good("other").await.unwrap());
    let tries = (0..6).map(|n| {
        let user = users.local_user(&format!("user{n}")).unwrap();
        let account = NewAccount {
            registration_token: Some("welcome".to_owned()),
            ..NewAccount::new(user, None)
        };
        users.register(account, None)
    });
    let made = futures_util::future::join_all(tries).await;
    assert_eq!(made.iter().filter(|result| result.is_ok()).count(), 2);
    assert!(!users.registration_token_is_good("welcome").await.unwrap());
    let view = users.store.view().await.unwrap();
    let all = users.registration_tokens(&view).await.unwrap();
    assert_eq!(all[0].completed, 2);
}

#[tokio::test]
async fn a_closed_account_keeps_its_name_and_nothing_else() {
    let (_folder, users) = fixture(clock());
    let alice = make(&users, "alice").await;
    let login = users
        .login(&alice, "secret".to_owned(), &NewDevice::default())
        .await
        .unwrap();
    users
        .set_profile_field(&alice, "displayname", Some(json!("Alice")))
        .await
        .unwrap();
    let content = to_raw_value(&json!({ "a": 1 })).unwrap();
    users
        .set_account_data(&alice, None, "org.example", &content)
        .await
        .unwrap();

    let view = users.store.view().await.unwrap();
    let mut batch = Batch::new();
    users
        .plan_deactivation(&view, &mut batch, &alice, true)
        .await
        .unwrap();
    users.store.commit(batch).await.unwrap();

    assert_eq!(users.authenticate(&login.access_token).await.unwrap(), None);
    let device = NewDevice::default();
    let again = users.login(&alice, "secret".to_owned(), &device);
    assert_eq!(
        kind(&again.await.unwrap_err()),
        Some(&Refusal::UserDeactivated)
    );
    let taken = users.check_name("alice").await.unwrap_err();
    assert_eq!(kind(&taken), Some(&Refusal::UserInUse));
    let view = users.store.view().await.unwrap();
    assert!(users.devices(&view, &alice).await.unwrap().is_empty());
    assert!(
        users
            .profile(&view, &alice)
            .await
            .unwrap()
            .fields
            .is_empty()
    );
    let data = users
        .account_data_since(&view, &alice, Position::ZERO, view.position())
        .await
        .unwrap();
    assert!(data.iter().all(|datum| datum.kind == "m.push_rules"));
    let account = users.account(&view, &alice).await.unwrap().unwrap();
    assert!(account.deactivated && account.erased);
}

#[tokio::test]
async fn users_are_listed_page_by_page() {
    let (_folder, users) = fixture(clock());
    for name in ["carol", "alice", "bob"] {
        make(&users, name).await;
    }
    let view = users.store.view().await.unwrap();
    let first = users.accounts(&view, None, 2).await.unwrap();
    let names: Vec<_> = first.iter().map(|(user, _)| user.localpart()).collect();
    assert_eq!(names, ["alice", "bob"]);
    let rest = users.accounts(&view, Some(&first[1].0), 2).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].0.localpart(), "carol");
}

#[tokio::test]
async fn an_administrator_is_one_at_once() {
    let (_folder, users) = fixture(clock());
    let alice = make(&users, "alice").await;
    let login = users.login_as(&alice, &NewDevice::default()).await.unwrap();
    let admin = async || {
        let session = users.authenticate(&login.access_token).await.unwrap();
        session.unwrap().admin
    };
    assert!(!admin().await);
    users.set_admin(&alice, true).await.unwrap();
    assert!(admin().await);
    users.set_admin(&alice, false).await.unwrap();
    assert!(!admin().await);
}

#[tokio::test]
async fn a_nonce_is_spent_once() {
    let (_folder, users) = fixture(clock());
    let nonce = users.issue_nonce().await.unwrap();
    assert!(users.spend_nonce(&nonce).await.unwrap());
    assert!(!users.spend_nonce(&nonce).await.unwrap());
    assert!(!users.spend_nonce("made up").await.unwrap());
}
