#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hearth_base::{ManualClock, Millis};
use ruma::OwnedUserId;

use crate::{Answer, Challenge, Error, NewAccount, Outcome, Stage, Users, keys::tests::fixture};

async fn account(users: &Users, name: &str) -> OwnedUserId {
    let user = users.local_user(name).unwrap();
    let account = NewAccount::new(user.clone(), Some("secret".to_owned()));
    users.register(account, None).await.unwrap();
    user
}

fn asked(outcome: Outcome) -> Challenge {
    match outcome {
        Outcome::Asked(challenge) => challenge,
        Outcome::Passed { .. } => panic_passed(),
    }
}

#[allow(clippy::panic)]
fn panic_passed() -> ! {
    panic!("passed without having shown anything")
}

fn password(user: &str, word: &str) -> Option<Answer> {
    Some(Answer::Password {
        user: user.to_owned(),
        password: word.to_owned(),
    })
}

#[tokio::test]
async fn nothing_shown_is_a_question() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let flows = [vec![Stage::Dummy]];
    let outcome = users.interact("register", None, &flows, None, None).await;
    let challenge = asked(outcome.unwrap());
    assert_eq!(challenge.flows, flows);
    assert!(challenge.completed.is_empty() && challenge.refusal.is_none());
    let session = Some(&*challenge.session);
    let outcome = users
        .interact("register", None, &flows, session, Some(Answer::Dummy))
        .await;
    assert!(matches!(outcome.unwrap(), Outcome::Passed { .. }));
}

#[tokio::test]
async fn an_answer_needs_no_session() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let flows = [vec![Stage::Dummy]];
    let outcome = users
        .interact("register", None, &flows, None, Some(Answer::Dummy))
        .await;
    assert!(matches!(outcome.unwrap(), Outcome::Passed { .. }));
}

#[tokio::test]
async fn a_wrong_password_is_asked_again() {
    let (_folder, users) = fixture(ManualClock::at(Millis(1)));
    let alice = account(&users, "alice").await;
    account(&users, "bob").await;
    let flows = [vec![Stage::Password]];
    let ask = async |session: Option<&str>, answer: Option<Answer>| {
        users
            .interact("delete", Some(&alice), &flows, session, answer)
            .await
            .unwrap()
    };
    let first = asked(ask(None, password("alice", "wrong")).await);
    assert!(first.refusal.is_some() && first.completed.is_empty());
    let session = Some(&*first.session);
    let of_bob = password("bob", "secret");
    let other = users
        .interact("delete", Some(&alice), &flows, session, of_bob)
        .await;
    assert!(matches!(other, Err(Error::Forbidden(_))));
    let unasked = asked(ask(session, Some(Answer::Dummy)).await);
    assert!(unasked.refusal.is_some());
    assert_eq!(unasked.session, first.session);
    let right = ask(session, password("@alice:hearth.test", "secret")).await;
    assert!(matches!(right, Outcome::Passed { .. }));
}

#[tokio::test]
async fn stages_count_for_one_operation_of_one_user_for_a_while() {
    let clock = ManualClock::at(Millis(1));
    let (_folder, users) = fixture(clock.clone());
    let alice = account(&users, "alice").await;
    let bob = account(&users, "bob").await;
    let flows = [vec![Stage::Dummy, Stage::Password]];
    let begun = users
        .interact(
            "delete A",
            Some(&alice),
            &flows,
            None,
            password("alice", "secret"),
        )
        .await;
    let begun = asked(begun.unwrap());
    assert_eq!(begun.completed, [Stage::Password]);
    let session = Some(&*begun.session);
    for (purpose, user) in [("delete B", &alice), ("delete A", &bob)] {
        let outcome = users
            .interact(purpose, Some(user), &flows, session, Some(Answer::Dummy))
            .await;
        assert_eq!(asked(outcome.unwrap()).completed, [Stage::Dummy]);
    }
    clock.advance(Duration::from_secs(3_600));
    let late = users
        .interact(
            "delete A",
            Some(&alice),
            &flows,
            session,
            Some(Answer::Dummy),
        )
        .await;
    assert_eq!(asked(late.unwrap()).completed, [Stage::Dummy]);
}
