//! Owns answering from memory that there is nothing new: what a device asked when it was last looked after, and whether
//! anything that concerns it has moved since. Must never move a device on: such an answer repeats the token of the last look,
//! so that whatever it should have missed comes with the next.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use hearth_rooms::Membership;
use hearth_store::{FRESH, Moment, Moved, TopicName, View};
use hearth_users::Session;
use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedDeviceId, OwnedUserId};
use tokio::time::Instant;

use crate::{Error, Request, Response, Token, service::Shared};

/// Rooms of devices that are remembered, of all devices together; eight bytes each.
const REMEMBERED: u64 = 1_000_000;
/// For how many devices the memory is made.
const DEVICES: usize = 10_000;
/// What a device without rooms counts as.
const WEIGHT: u64 = 64;

type Device = (OwnedUserId, OwnedDeviceId);

/// The devices that were told all there is lately.
pub(crate) struct Quiet(Cache<Device, Arc<Silence>, ByRooms>);

/// That a device has all there is.
struct Silence {
    /// Before the view was opened.
    moment: Moment,
    /// From where nothing is new, as from the token of the answer.
    since: Token,
    looked_at: Instant,
    /// What was asked: the filter and all that decides what is told, token and timeout aside.
    asked: u64,
    /// What has to move for there to be news.
    topics: Box<[TopicName]>,
    /// That nothing is new.
    answer: Response,
}

#[derive(Clone)]
struct ByRooms;

impl Weighter<Device, Arc<Silence>> for ByRooms {
    fn weight(&self, _: &Device, silence: &Arc<Silence>) -> u64 {
        u64::try_from(silence.topics.len()).map_or(u64::MAX, |topics| topics + WEIGHT)
    }
}

impl Default for Quiet {
    fn default() -> Self {
        Self(Cache::with_weighter(DEVICES, REMEMBERED, ByRooms))
    }
}

impl Quiet {
    /// The answer that there is nothing new, if that is known.
    pub(crate) fn answer(
        &self,
        shared: &Shared,
        session: &Session,
        request: &Request,
    ) -> Option<Response> {
        let since = request.since?;
        let silence = self.0.get(&device(session))?;
        // Whom the device believes to be typing stops without a hint.
        let is_known = (since == silence.since || since == silence.answer.next_batch)
            && silence.looked_at.elapsed() < FRESH
            && asked(request) == Some(silence.asked)
            && !shared.typing.is_watched(session)
            && moved(shared).is_still(silence.moment, &silence.topics);
        is_known.then(|| silence.answer.clone())
    }

    /// Takes in what a look in `view`, which was opened after `moment`, found: nothing, or what the device has once it goes
    /// on from there.
    pub(crate) async fn note(
        &self,
        shared: &Shared,
        (moment, view): (Moment, &View),
        session: &Session,
        request: &Request,
        answer: &Response,
    ) -> Result<(), Error> {
        let Some(asked) = asked(request) else {
            return Ok(());
        };
        // To-device messages are acknowledged with the next look, and there may be more of them.
        if !answer.to_device.is_empty() {
            return Ok(());
        }
        let rooms = shared.rooms.known_rooms_of(view, &session.user_id).await?;
        let joined = rooms
            .iter()
            .filter(|(_, member)| member.membership == Membership::Join);
        let moved = moved(shared);
        let own = moved.name('u', session.user_id.as_str());
        let topics = joined.map(|(room, _)| moved.name('r', room.as_str()));
        let silence = Silence {
            moment,
            since: request
                .since
                .filter(|_| answer.is_empty())
                .unwrap_or(answer.next_batch),
            looked_at: Instant::now(),
            asked,
            topics: topics.chain([own]).collect(),
            answer: answer.nothing_after(),
        };
        self.0.insert(device(session), Arc::new(silence));
        Ok(())
    }
}

/// What moved on this node.
pub(crate) fn moved(shared: &Shared) -> &Moved {
    shared.store.hints().moved()
}

fn device(session: &Session) -> Device {
    (session.user_id.clone(), session.device_id.clone())
}

/// Nothing for what is always looked at.
fn asked(request: &Request) -> Option<u64> {
    if request.full_state {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    (request.state_form as u8).hash(&mut hasher);
    serde_json::to_string(&request.filter)
        .ok()?
        .hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use serde_json::json;

    use crate::{
        Token,
        tests::{House, events, joined, polling, since_with, texts},
    };

    #[tokio::test]
    async fn silence_is_remembered_until_something_concerns_the_device() {
        let house = House::open();
        let alice = house.account("alice").await;
        house.account("bob").await;
        let room = house.company(&["alice", "bob"]).await;
        let elsewhere = house.company(&["bob"]).await;
        let (first, _) = house.first(&alice).await;
        let (quiet, _) = house.next(&alice, first).await;
        let is_known = |since: Token| {
            let request = polling(since, Duration::ZERO);
            let shared = house.sync.shared();
            shared.quiet.answer(shared, &alice, &request).is_some()
        };
        assert!(is_known(first) && is_known(quiet));

        // What does not concern it moves nothing, and such an answer does not move the device on.
        house.say(&elsewhere, "bob", "to myself").await;
        assert!(is_known(quiet));
        let (again, _) = house.next(&alice, quiet).await;
        assert_eq!(again, quiet);

        // Another filter may let something through.
        let other = since_with(quiet, json!({ "room": { "timeline": { "limit": 1 } } }));
        let shared = house.sync.shared();
        assert!(shared.quiet.answer(shared, &alice, &other).is_none());

        house.say(&room, "bob", "hello").await;
        assert!(!is_known(quiet));
        let (_, answer) = house.next(&alice, again).await;
        assert_eq!(texts(joined(&answer, &room)), ["hello"]);
    }

    #[tokio::test]
    async fn who_was_told_all_is_known_to_have_it() {
        let house = House::open();
        let alice = house.account("alice").await;
        house.account("bob").await;
        let room = house.company(&["alice", "bob"]).await;
        let shared = house.sync.shared();
        let silence = |since: Token| {
            let request = polling(since, Duration::ZERO);
            shared.quiet.answer(shared, &alice, &request)
        };
        let (first, _) = house.first(&alice).await;
        assert!(silence(first).unwrap().is_empty());
        house.say(&room, "bob", "hello").await;
        let (told, answer) = house.next(&alice, first).await;
        assert_eq!(texts(joined(&answer, &room)), ["hello"]);
        // The token before what was told still leads to it.
        assert!(silence(first).is_none());
        let nothing = silence(told).unwrap();
        assert!(nothing.is_empty() && nothing.next_batch == told);

        // What is acknowledged by the next request is not passed over.
        house.tell("bob", "alice", 0).await;
        let (told, answer) = house.next(&alice, told).await;
        assert!(!events(&answer, "/to_device/events").is_empty());
        assert!(silence(told).is_none());
    }

    #[tokio::test]
    async fn account_data_and_new_rooms_end_the_silence() {
        let house = House::open();
        let alice = house.account("alice").await;
        house.account("bob").await;
        let (first, _) = house.first(&alice).await;
        let (quiet, _) = house.next(&alice, first).await;
        let room = house.company(&["bob", "alice"]).await;
        let (_, answer) = house.next(&alice, quiet).await;
        assert!(!joined(&answer, &room).is_null());
    }
}
