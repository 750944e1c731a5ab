#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use hearth_base::{Clock as _, ManualClock, Millis, SeededRng};
use ruma::{UserId, device_id, user_id};

use super::{Availability, Board, GRACE, IDLE, PresenceStamp, Record, Stay};
use crate::{Error, Limits, Refusal, Users, keys::tests::fixture};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn who_syncs_is_there_until_they_stop() {
    let clock = ManualClock::at(Millis(1_000_000));
    let (_folder, users) = fixture(clock.clone());
    let (alice, phone) = (user_id!("@alice:home"), device_id!("PHONE"));
    assert_eq!(users.presence(alice).availability, Availability::Offline);
    let online = Availability::Online;
    users
        .note_sync(alice, phone, online, HALF_A_MINUTE)
        .await
        .unwrap();
    assert_eq!(users.announce_presence().await.unwrap(), [alice]);
    let stamp = users.presence_stamp();
    assert_eq!(users.presence_changes(PresenceStamp(0), 10), [alice]);

    // Going on is no news.
    clock.advance(HALF_A_MINUTE);
    users
        .note_sync(alice, phone, online, HALF_A_MINUTE)
        .await
        .unwrap();
    assert!(users.announce_presence().await.unwrap().is_empty());
    assert!(users.presence(alice).is_active(clock.now()));

    clock.advance(HALF_A_MINUTE * 3);
    assert_eq!(users.presence(alice).availability, Availability::Offline);
    assert_eq!(users.announce_presence().await.unwrap(), [alice]);
    assert_eq!(users.presence_changes(stamp, 10), [alice]);
    let ago = users.presence(alice).last_active_ago(clock.now());
    assert_eq!(ago, Some(HALF_A_MINUTE * 3));
}

#[tokio::test]
async fn of_many_devices_the_most_available_counts() {
    let clock = ManualClock::at(Millis(1_000_000));
    let (_folder, users) = fixture(clock.clone());
    let alice = user_id!("@alice:home");
    let (phone, desk) = (device_id!("PHONE"), device_id!("DESK"));
    let (online, away) = (Availability::Online, Availability::Unavailable);
    users
        .note_sync(alice, phone, away, HALF_A_MINUTE)
        .await
        .unwrap();
    users
        .note_sync(alice, desk, online, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(users.presence(alice).availability, online);
    clock.advance(HALF_A_MINUTE + Duration::from_secs(1));
    assert_eq!(users.presence(alice).availability, away);
}

#[tokio::test]
async fn what_is_set_by_hand_is_told_with_its_message() {
    let clock = ManualClock::at(Millis(1_000_000));
    let (_folder, users) = fixture(clock.clone());
    let (alice, phone) = (user_id!("@alice:home"), device_id!("PHONE"));
    let away = Availability::Unavailable;
    let message = Some("at lunch".to_owned());
    users
        .set_presence(alice, phone, away, message.clone())
        .await
        .unwrap();
    assert_eq!(users.presence(alice).message, message);
    assert_eq!(users.announce_presence().await.unwrap(), [alice]);
    users
        .set_presence(alice, phone, away, message)
        .await
        .unwrap();
    assert!(users.announce_presence().await.unwrap().is_empty());
    let long = Some("x".repeat(2_000));
    let refused = users.set_presence(alice, phone, away, long).await;
    assert!(matches!(
        refused,
        Err(Error::Refused {
            kind: Refusal::TooLarge,
            ..
        })
    ));
}

#[tokio::test]
async fn what_one_node_wrote_is_neither_undone_nor_kept_from_other_servers_by_another() {
    let clock = ManualClock::at(Millis(1_000_000));
    let (_folder, one) = fixture(clock.clone());
    let other = Users::new(
        one.store.clone(),
        Arc::new(clock.clone()),
        Arc::new(SeededRng::new(8)),
        one.server_name.clone(),
        Limits::default(),
    );
    let (alice, phone) = (user_id!("@alice:hearth.test"), device_id!("PHONE"));
    let online = Availability::Online;
    let syncs = one.note_sync(alice, phone, online, HALF_A_MINUTE);
    syncs.await.unwrap();
    // Before the other has heard of that.
    let message = Some("at work".to_owned());
    let set = other.set_presence(alice, phone, online, message.clone());
    set.await.unwrap();
    assert_eq!(other.announce_presence().await.unwrap(), [alice]);
    assert!(other.tells_presence(alice));
    // And the other way round.
    clock.advance(HALF_A_MINUTE);
    let syncs = one.note_sync(alice, phone, online, HALF_A_MINUTE);
    syncs.await.unwrap();
    for node in [&one, &other] {
        node.announce_presence().await.unwrap();
        assert_eq!(node.presence(alice).message, message);
    }
    assert!(one.tells_presence(alice) && !other.tells_presence(alice));
}

#[tokio::test]
async fn announcements_come_the_more_rarely_the_more_are_online() {
    let clock = ManualClock::at(Millis(1_000_000));
    let (_folder, users) = fixture(clock.clone());
    let phone = device_id!("PHONE");
    for number in 0..400 {
        let user = users.local_user(&format!("user{number}")).unwrap();
        users
            .note_sync(&user, phone, Availability::Online, HALF_A_MINUTE)
            .await
            .unwrap();
    }
    assert_eq!(users.presence_pause(), Duration::ZERO);
    assert_eq!(users.announce_presence().await.unwrap().len(), 400);
    assert_eq!(users.presence_pause(), Duration::from_secs(2));
    clock.advance(Duration::from_secs(2));
    assert_eq!(users.presence_pause(), Duration::ZERO);
}

#[tokio::test]
async fn among_very_many_records_are_written_rarely_and_the_last_are_not_told_of() {
    let mut board = Board::default();
    let now = Millis(1_000_000);
    let stay = Stay {
        device: device_id!("PHONE").to_owned(),
        availability: Availability::Online,
        until: now.after(HALF_A_MINUTE),
    };
    let record = Record {
        stays: vec![stay],
        message: None,
        last_active: Some(now),
        by: String::new(),
    };
    let user = |n: u32| UserId::parse(format!("@u{n}:home")).unwrap();
    assert_eq!(board.stretch(), Duration::ZERO);
    let mut online = 0;
    while board.takes(&user(online)) {
        assert!(board.put(&user(online), record.clone(), false, now));
        online += 1;
    }
    assert!(online >= 10_000);
    // Before its user would count as having nothing to do, a record is written again.
    let longest = HALF_A_MINUTE + GRACE + board.stretch();
    assert!(board.stretch() > Duration::from_secs(60) && longest < IDLE);
    assert!(board.takes(&user(0)));
    assert!(!board.put(&user(online), record.clone(), false, now));
    assert_eq!(board.announce(now).len(), usize::try_from(online).unwrap());

    // Once somebody has left there is place again.
    let gone = now.after(HALF_A_MINUTE * 2);
    board.announce(gone);
    assert!(board.takes(&user(online)));
    assert_eq!(board.record(&user(online)), None);
}
