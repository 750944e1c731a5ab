//! Owns lazy loading: of the members of a room only those whom the answer is about, and those not again that the device
//! has. What it has is remembered in a bounded cache; what fell out of it is sent again, which is allowed.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members>

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use hearth_store::Position;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, RoomId, UserId, api::client::filter::LazyLoadOptions};

use crate::{
    Error, Summary,
    state::{Entries, MEMBER},
    timeline::Cut,
    window::{Reading, RoomWindow},
};

/// Of how many rooms of devices is remembered which members they have.
const ROOMS: usize = 10_000;

/// How many members of each.
const MEMBERS: usize = 256;

/// Member (hashed) to their event (hashed) and the position of the answer that it was in.
type Sent = Arc<Mutex<HashMap<u64, (u64, Position)>>>;

/// Which members each device has. Only hashes are kept: that two are the same by chance costs a client one membership
/// event that it asks for by itself.
pub(crate) struct KnownMembers(Cache<u64, Sent>);

impl Default for KnownMembers {
    fn default() -> Self {
        Self(Cache::new(ROOMS))
    }
}

impl KnownMembers {
    fn of(&self, reading: &Reading<'_>, room: &RoomId) -> Sent {
        let key = hash(&(reading.user(), &reading.session.device_id, room));
        let found = self
            .0
            .get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Sent::default()));
        found.unwrap_or_default()
    }
}

/// Whether the client loads members lazily.
pub(crate) fn is_lazy(reading: &Reading<'_>) -> bool {
    !lazy(reading).is_disabled()
}

fn lazy(reading: &Reading<'_>) -> LazyLoadOptions {
    reading.request.filter.room.state.lazy_load_options
}

/// Leaves in `entries` those members that the answer needs, and adds those that are missing.
pub(crate) async fn choose(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    cut: &Cut,
    summary: &Summary,
    entries: &mut Entries,
) -> Result<(), Error> {
    let LazyLoadOptions::Enabled {
        include_redundant_members,
    } = lazy(reading)
    else {
        return Ok(());
    };
    let is_whole = room.is_whole(reading);
    let sent = reading.shared.members.of(reading, room.id);
    if reading.request.since.is_none() {
        // The device starts anew and has nothing.
        sent.lock().clear();
    }
    let needed = needed(reading, cut, summary, is_whole);
    let is_known = |user: &str| has(&sent, reading, user).is_some();
    entries.retain(|(event_type, user), _| {
        event_type != MEMBER || needed.contains(user) || (!is_whole && is_known(user))
    });
    let is_after = reading.request.state_form.is_after();
    let base = if is_after { room.end } else { cut.start };
    for user in needed {
        let key = (MEMBER.to_owned(), user);
        if entries.contains_key(&key) {
            continue;
        }
        let member = match reading
            .rooms()
            .state_event(reading.view, room.head, base, MEMBER, &key.1)
            .await?
        {
            Some(member) => Some(member.event_id().to_owned()),
            None => named(reading, room, cut, &key.1).await?,
        };
        let Some(member) = member else {
            continue;
        };
        let is_redundant = has(&sent, reading, &key.1) == Some(hash(&&*member));
        if is_whole || include_redundant_members || !is_redundant {
            entries.insert(key, member);
        }
    }
    let in_state = entries
        .iter()
        .filter(|((event_type, _), _)| event_type == MEMBER)
        .map(|((_, user), id)| (user.as_str(), id.as_ref()));
    let in_timeline = cut.events.iter().filter_map(|event| {
        let user = event.pdu.state_key()?;
        (event.pdu.event_type() == MEMBER).then_some((user, event.event_id()))
    });
    note(&sent, reading.upto(), in_state.chain(in_timeline));
    Ok(())
}

/// The membership event of a sender that an event itself names, where the members of the room are not known.
async fn named(
    reading: &Reading<'_>,
    room: &RoomWindow<'_>,
    cut: &Cut,
    user: &str,
) -> Result<Option<OwnedEventId>, Error> {
    let (rooms, view) = (reading.rooms(), reading.view);
    let sent = cut
        .events
        .iter()
        .rev()
        .find(|event| event.pdu.sender() == user);
    match sent {
        Some(event) if rooms.is_partial(view, room.id, room.head).await? => {
            Ok(rooms.named_sender(view, &event.pdu).await?)
        }
        _ => Ok(None),
    }
}

/// Whose membership a client needs to show the answer.
fn needed(reading: &Reading<'_>, cut: &Cut, summary: &Summary, is_whole: bool) -> BTreeSet<String> {
    let senders = cut.events.iter().map(|event| event.pdu.sender());
    let heroes = summary.heroes.iter().flatten().map(|user| &**user);
    let own = is_whole.then(|| reading.user());
    let all = senders.chain(heroes).chain(own);
    all.map(|user: &UserId| user.as_str().to_owned()).collect()
}

/// The membership event (hashed) of a user that the device has: it was in an answer that the device has gone on from.
fn has(sent: &Sent, reading: &Reading<'_>, user: &str) -> Option<u64> {
    let sent = sent.lock();
    let (event, position) = sent.get(&hash(&user))?;
    (*position <= reading.after()).then_some(*event)
}

fn note<'a>(
    sent: &Sent,
    position: Position,
    members: impl Iterator<Item = (&'a str, &'a EventId)>,
) {
    let mut sent = sent.lock();
    for (user, event) in members {
        if sent.len() >= MEMBERS {
            sent.clear();
        }
        let (event, known) = (hash(&event), sent.get(&hash(&user)).copied());
        // What it has since an earlier answer it has, whether this one arrives or not.
        if known.is_none_or(|(other, _)| other != event) {
            sent.insert(hash(&user), (event, position));
        }
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
