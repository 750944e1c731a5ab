//! Rooms that are joined without their members: what goes on meanwhile, how the rest comes, and what it shows to be wrong.

use std::sync::Arc;

use hearth_protocol::{Depth, Draft, Pdu, RoomVersion, SigningKey, federation_json, seal};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, ServerName, UInt,
    UserId, server_name,
};
use serde_json::{Value, json, value::to_raw_value};

use super::{
    House, is_forbidden,
    resident::{Manner, Town},
    user,
};
use crate::{
    Act, Error, Head, MemberChange, Membership, NewEvent, NewRoom, Preset, RemoteTransaction,
    StoredEvent,
};

pub(super) fn far(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:far")).unwrap()
}

/// A public room of `@ann:far`, in which `@ben:far` is and `@cid:far` was, and which `@alice:home` can join.
pub(super) struct Neighbours {
    pub(super) town: Arc<Town>,
    pub(super) home: House,
    pub(super) far: House,
    pub(super) room: OwnedRoomId,
    pub(super) cid_joined: OwnedEventId,
}

impl Neighbours {
    pub(super) async fn meet() -> Self {
        Self::meet_in(RoomVersion::default()).await
    }

    /// In a room of that version.
    pub(super) async fn meet_in(version: RoomVersion) -> Self {
        let town = Arc::new(Town::default());
        let (home, far_off) = (House::open(), House::of("far"));
        town.add(&home.rooms);
        town.add(&far_off.rooms);
        let mut room = NewRoom::by(far("ann"));
        room.preset = Some(Preset::PublicChat);
        // Without a name those after whom it is called would be told.
        room.name = Some("Neighbours".to_owned());
        room.version = Some(version);
        let room = far_off.rooms.create(room).await.unwrap();
        let mut levels = json!({ "users": { "@ben:far": 50, "@cid:far": 100 } });
        if !version.has_hashed_room_ids() {
            levels["users"]["@ann:far"] = 100.into();
        }
        let levels = to_raw_value(&levels).unwrap();
        let levels = NewEvent::state(room.clone(), far("ann"), "m.room.power_levels", "", levels);
        far_off.rooms.send(levels).await.unwrap();
        for name in ["ben", "cid"] {
            let join = MemberChange::own(room.clone(), far(name), Act::Join);
            far_off.rooms.change_membership(join).await.unwrap();
        }
        let view = far_off.view().await;
        let cid = far_off.rooms.membership(&view, &far("cid"), &room).await;
        let cid_joined = cid.unwrap().unwrap().event_id;
        let leave = MemberChange::own(room.clone(), far("cid"), Act::Leave);
        far_off.rooms.change_membership(leave).await.unwrap();
        Self {
            town,
            home,
            far: far_off,
            room,
            cid_joined,
        }
    }

    pub(super) async fn with_alice() -> Self {
        let all = Self::meet().await;
        all.enter("alice").await;
        all
    }

    /// A user of this server comes in through the other one.
    pub(super) async fn enter(&self, name: &str) {
        let join = MemberChange::own(self.room.clone(), user(name), Act::Join);
        let via = [server_name!("far").to_owned()];
        let joined = self.home.rooms.change_membership_through(join, &via).await;
        joined.unwrap();
    }

    pub(super) async fn head(&self) -> Head {
        let view = self.home.view().await;
        let head = self.home.rooms.head(&view, &self.room).await;
        head.unwrap().unwrap()
    }

    pub(super) async fn is_partial(&self) -> bool {
        let (view, head) = (self.home.view().await, self.head().await);
        let is_partial = self.home.rooms.is_partial(&view, &self.room, &head);
        is_partial.await.unwrap()
    }

    pub(super) async fn stored(&self, id: &EventId) -> Arc<StoredEvent> {
        let view = self.home.view().await;
        let event = self.home.rooms.event(&view, id).await.unwrap();
        event.unwrap()
    }

    /// The entries of the present state of the room in a house.
    pub(super) async fn state(&self, house: &House) -> Vec<(String, String, OwnedEventId)> {
        let view = house.view().await;
        let head = house.rooms.head(&view, &self.room).await.unwrap().unwrap();
        let state = house.rooms.state_ids(&view, &head, head.state, None);
        let mut state = state.await.unwrap();
        state.sort();
        state
    }

    pub(super) async fn is_joined(&self, user: &UserId) -> bool {
        let view = self.home.view().await;
        let joined = self.home.rooms.is_joined(&view, user, &self.room);
        joined.await.unwrap()
    }

    /// A user of the other server says something, of which this one hears.
    pub(super) async fn hear(&self, name: &str, text: &str) -> Arc<StoredEvent> {
        let content = to_raw_value(&json!({ "msgtype": "m.text", "body": text })).unwrap();
        let event = NewEvent::message(self.room.clone(), far(name), "m.room.message", content);
        let id = self.far.rooms.send(event).await.unwrap();
        let view = self.far.view().await;
        let sent = self.far.rooms.event(&view, &id).await.unwrap().unwrap();
        self.take(&sent.pdu).await
    }

    /// Takes in an event of the other server.
    pub(super) async fn take(&self, pdu: &Pdu) -> Arc<StoredEvent> {
        let transaction = RemoteTransaction {
            origin: server_name!("far").to_owned(),
            id: pdu.event_id().to_string(),
            events: vec![federation_json(pdu)],
        };
        self.home.rooms.take_over(transaction).await.unwrap();
        while self.home.rooms.is_working() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.stored(pdu.event_id()).await
    }

    /// The other server hears what was said here last.
    pub(super) async fn tell(&self, id: &EventId) {
        let transaction = RemoteTransaction {
            origin: server_name!("home").to_owned(),
            id: id.to_string(),
            events: vec![federation_json(&self.stored(id).await.pdu)],
        };
        self.far.rooms.take_over(transaction).await.unwrap();
        while self.far.rooms.is_working() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// A state event that `sender` sends after the newest of this server's, naming what vouches for it.
    pub(super) async fn forged(
        &self,
        sender: &str,
        (event_type, state_key): (&str, &str),
        content: Value,
        members: &[&EventId],
    ) -> Pdu {
        let head = self.head().await;
        let time = MilliSecondsSinceUnixEpoch(UInt::from(5_000_u32));
        let content = to_raw_value(&content).unwrap();
        let mut draft = Draft::new(far(sender), event_type.to_owned(), content, time);
        draft.room_id = Some(self.room.clone());
        draft.state_key = Some(state_key.to_owned());
        draft.prev_events = head.extremities.clone();
        draft.depth = Depth(head.depth.0 + 1);
        let view = self.home.view().await;
        let levels = self
            .home
            .rooms
            .state_event(&view, &head, head.state, "m.room.power_levels", "")
            .await
            .unwrap()
            .unwrap();
        let named = members.iter().copied().chain([levels.event_id()]);
        draft.auth_events = named.map(ToOwned::to_owned).collect();
        let key = SigningKey::generate(server_name!("far"), "ed25519:1", [1; 32]).unwrap();
        seal(draft, head.version, &key).unwrap()
    }

    pub(super) async fn complete(&self) {
        self.home.rooms.complete(&self.room, 0).await.unwrap();
    }

    pub(super) async fn state_for(&self, origin: &ServerName, id: &EventId) -> Result<(), Error> {
        let view = self.home.view().await;
        let state = self.home.rooms.state_for(&view, origin, &self.room, id);
        state.await.map(|_| ())
    }
}

#[tokio::test]
async fn a_room_is_used_before_its_members_are_known() {
    let all = Neighbours::with_alice().await;
    let (rooms, far_off) = (&all.home.rooms, server_name!("far"));
    assert!(all.is_partial().await);
    assert!(all.is_joined(&user("alice")).await && !all.is_joined(&far("ben")).await);
    let view = all.home.view().await;
    let servers = rooms.servers(&view, &all.room, 10).await.unwrap();
    assert_eq!(servers.len(), 2);
    let said = all.home.say(&all.room, "alice", "hello").await;
    all.tell(&said).await;
    let heard = all.hear("ben", "welcome").await;
    assert!(!heard.pdu.is_rejected() && !heard.soft_failed);
    assert_eq!(heard.pdu.prev_events(), [said]);
    // No other server is told what this one does not know.
    assert!(is_forbidden(
        &all.state_for(far_off, heard.event_id()).await
    ));
    let third = UserId::parse("@eve:third").unwrap();
    for membership in [Membership::Join, Membership::Knock] {
        let (third, room) = (&third, &all.room);
        let draft = rooms.draft_for(third.server_name(), room, third, membership, None);
        assert!(matches!(draft.await, Err(Error::NotFound(_))));
    }
    all.complete().await;
    assert!(!all.is_partial().await);
    assert!(all.is_joined(&far("ben")).await && !all.is_joined(&far("cid")).await);
    assert_eq!(all.head().await.joined, 3);
    assert_eq!(all.state(&all.home).await, all.state(&all.far).await);
    assert_eq!(all.head().await.extremities, [heard.event_id()]);
    all.state_for(far_off, heard.event_id()).await.unwrap();
    let view = all.home.view().await;
    let servers = rooms.servers(&view, &all.room, 10).await.unwrap();
    assert_eq!(servers.len(), 2);
}

#[tokio::test]
async fn requests_that_need_all_members_wait_for_them() {
    let all = Neighbours::with_alice().await;
    let waiting = {
        let (rooms, room) = (all.home.rooms.clone(), all.room.clone());
        tokio::spawn(async move { rooms.await_members(&room).await })
    };
    all.home
        .rooms
        .await_member(&all.room, "@alice:home")
        .await
        .unwrap();
    assert!(!waiting.is_finished());
    all.complete().await;
    waiting.await.unwrap().unwrap();
    // An invite of one who is in the room is refused, as it can be told only now.
    let invite = MemberChange::of(all.room.clone(), user("alice"), far("ben"), Act::Invite);
    assert!(is_forbidden(
        &all.home.rooms.change_membership(invite).await
    ));
}

#[tokio::test]
async fn the_rest_comes_from_another_server_if_the_first_is_silent() {
    let all = Neighbours::meet().await;
    let third = House::of("third");
    all.town.add(&third.rooms);
    let eve = UserId::parse("@eve:third").unwrap();
    let join = MemberChange::own(all.room.clone(), eve.clone(), Act::Join);
    let via = [server_name!("far").to_owned()];
    third
        .rooms
        .change_membership_through(join, &via)
        .await
        .unwrap();
    third.rooms.complete(&all.room, 0).await.unwrap();
    let join = MemberChange::own(all.room.clone(), user("alice"), Act::Join);
    let joined = all.home.rooms.change_membership_through(join, &via).await;
    let joined = joined.unwrap();
    // The third server has to know of the join before it tells anything.
    let transaction = RemoteTransaction {
        origin: server_name!("far").to_owned(),
        id: "join".to_owned(),
        events: vec![federation_json(&all.stored(&joined).await.pdu)],
    };
    third.rooms.take_over(transaction).await.unwrap();
    while third.rooms.is_working() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    all.town.asked.lock().clear();
    all.town.behave("far", Manner::Silent);
    all.complete().await;
    assert_eq!(
        *all.town.asked.lock(),
        [server_name!("far"), server_name!("third")]
    );
    assert!(all.is_joined(&eve).await && all.is_joined(&far("ben")).await);
}

#[tokio::test]
async fn a_state_that_cannot_be_is_not_believed() {
    let all = Neighbours::with_alice().await;
    let before = all.state(&all.home).await;
    for manner in [Manner::Silent, Manner::Headless, Manner::Closed] {
        all.town.behave("far", manner);
        let done = all.home.rooms.complete(&all.room, 0).await;
        assert!(matches!(done, Err(Error::Unreachable(_))), "{done:?}");
        assert!(all.is_partial().await);
        assert_eq!(all.state(&all.home).await, before);
    }
    all.home.say(&all.room, "alice", "still here").await;
    all.town.behave("far", Manner::Right);
    all.complete().await;
    assert_eq!(all.state(&all.home).await, all.state(&all.far).await);
}

#[tokio::test]
async fn a_node_goes_on_where_another_stopped() {
    let all = Neighbours::with_alice().await;
    let mut said = Vec::new();
    for number in 0..80 {
        let text = format!("message {number}");
        said.push(all.home.say(&all.room, "alice", &text).await);
    }
    // The join alone, then some of the rest.
    for _ in 0..2 {
        assert!(all.home.rooms.complete_some(&all.room, 0).await.unwrap());
    }
    let asked = all.town.asked.lock().len();
    assert!(all.is_partial().await);
    // What comes between two steps is received again too.
    said.push(all.home.say(&all.room, "alice", "in between").await);
    let (one, other) = tokio::join!(
        all.home.other.complete(&all.room, 0),
        all.home.rooms.complete(&all.room, 0)
    );
    assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    all.complete().await;
    assert_eq!(
        all.town.asked.lock().len(),
        asked,
        "nothing is asked for twice"
    );
    assert_eq!(all.head().await.extremities, said[said.len() - 1..]);
    let ben = far("ben");
    for id in &said {
        let (event, view) = (all.stored(id).await, all.home.view().await);
        let head = all.head().await;
        let then = all
            .home
            .rooms
            .membership_at(&view, &head, event.state_before, &ben);
        assert_eq!(then.await.unwrap(), Membership::Join);
    }
    let view = all.home.view().await;
    let left = view
        .scan_prefix(
            &crate::partial::REPLAYS,
            (all.room.as_str(),),
            hearth_store::Direction::Forward,
            1,
        )
        .await
        .unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn what_turns_out_not_to_be_allowed_goes() {
    let all = Neighbours::with_alice().await;
    // Of one who left before: the event names the join, and nobody here knows better.
    let forged = all
        .forged(
            "cid",
            ("org.example.badge", "@cid:far"),
            json!({}),
            &[&all.cid_joined],
        )
        .await;
    let taken = all.take(&forged).await;
    assert!(!taken.pdu.is_rejected());
    let said = all.home.say(&all.room, "alice", "after it").await;
    assert_eq!(
        all.stored(&said).await.pdu.prev_events(),
        [forged.event_id()]
    );
    all.complete().await;
    assert!(all.stored(forged.event_id()).await.pdu.is_rejected());
    let state = all.state(&all.home).await;
    assert!(state.iter().all(|(_, _, id)| id != forged.event_id()));
    let (view, head) = (all.home.view().await, all.head().await);
    let newest = all
        .home
        .rooms
        .newest(
            &view,
            (&all.room, &head),
            (hearth_store::Position::ZERO, head.position),
            10,
        )
        .await
        .unwrap();
    assert!(
        newest
            .iter()
            .all(|event| event.event_id() != forged.event_id())
    );
    assert!(newest.iter().any(|event| event.event_id() == said));
    assert_eq!(head.extremities, [said]);
}

#[tokio::test]
async fn what_was_wrongly_refused_comes_late() {
    let all = Neighbours::with_alice().await;
    let view = all.far.view().await;
    let ben = far("ben");
    let ben = all.far.rooms.membership(&view, &ben, &all.room);
    let ben = ben.await.unwrap().unwrap().event_id;
    // One who left puts another out, so what that one sends is refused.
    let (target, leave) = (
        ("m.room.member", "@ben:far"),
        json!({ "membership": "leave" }),
    );
    let kick = all
        .forged("cid", target, leave, &[&all.cid_joined, &ben])
        .await;
    assert!(!all.take(&kick).await.pdu.is_rejected());
    let badge = ("org.example.badge", "@ben:far");
    let badge = all.forged("ben", badge, json!({}), &[&ben]).await;
    assert!(all.take(&badge).await.pdu.is_rejected());
    let before = all.head().await.position;
    all.complete().await;
    assert!(all.stored(kick.event_id()).await.pdu.is_rejected());
    let late = all.stored(badge.event_id()).await;
    assert!(!late.pdu.is_rejected() && late.position > before);
    assert!(all.is_joined(&far("ben")).await);
    let state = all.state(&all.home).await;
    assert!(state.iter().any(|(_, _, id)| id == badge.event_id()));
}
