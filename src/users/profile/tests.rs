#![allow(clippy::unwrap_used)]

use hearth_base::{ManualClock, Millis};
use serde_json::json;

use crate::{Error, NewAccount, Profile, Refusal, keys::tests::fixture};

#[tokio::test]
async fn fields_are_set_read_and_removed() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = users.local_user("alice").unwrap();
    let set = async |field: &str, value| users.set_profile_field(&alice, field, value).await;
    let missing = set("displayname", Some(json!("Alice"))).await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
    let account = NewAccount::new(alice.clone(), None);
    users.register(account, None).await.unwrap();
    let profile = async || {
        let view = users.store.view().await.unwrap();
        users.profile(&view, &alice).await.unwrap()
    };
    assert_eq!(profile().await, Profile::default());
    assert!(set("displayname", Some(json!("Alice"))).await.unwrap());
    assert!(!set("displayname", Some(json!("Alice"))).await.unwrap());
    assert!(
        set("avatar_url", Some(json!("mxc://hearth.test/a")))
            .await
            .unwrap()
    );
    assert!(
        set("org.example.any", Some(json!({ "a": [1] })))
            .await
            .unwrap()
    );
    let now = profile().await;
    assert_eq!(now.displayname.as_deref(), Some("Alice"));
    assert_eq!(now.avatar_url.as_deref(), Some("mxc://hearth.test/a"));
    assert_eq!(now.fields["org.example.any"], json!({ "a": [1] }));
    assert!(set("displayname", Some(json!(""))).await.unwrap());
    assert_eq!(profile().await.displayname, None);
    assert!(set("org.example.any", None).await.unwrap());
    assert!(!set("org.example.any", None).await.unwrap());
}

#[tokio::test]
async fn bad_fields_are_refused() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = users.local_user("alice").unwrap();
    let account = NewAccount::new(alice.clone(), None);
    users.register(account, None).await.unwrap();
    let long = "a".repeat(256);
    let cases = [
        ("displayname", json!(7), Refusal::InvalidParam),
        ("displayname", json!("x".repeat(3_000)), Refusal::TooLarge),
        (
            "avatar_url",
            json!({ "url": "mxc://hearth.test/a" }),
            Refusal::InvalidParam,
        ),
        ("Bad Field", json!(1), Refusal::InvalidParam),
        (&*long, json!(1), Refusal::KeyTooLarge),
        (
            "org.example",
            json!("x".repeat(70_000)),
            Refusal::ProfileTooLarge,
        ),
    ];
    for (field, value, expected) in cases {
        let error = users.set_profile_field(&alice, field, Some(value)).await;
        let found = matches!(&error, Err(Error::Refused { kind, .. }) if *kind == expected);
        assert!(found, "{field}: {error:?}");
    }
}
