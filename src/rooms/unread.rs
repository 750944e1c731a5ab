//! Owns unread counts: derived from running totals, never fanned out to members. The totals count what the default push
//! rules count; who mutes a room or has rules of their own is told the same by the caller, who knows the rules.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#receiving-notifications>

use std::{collections::BTreeMap, sync::Arc};

use hearth_protocol::Pdu;
use hearth_store::{Direction, Family, Part, Position, ReadPart, Reader, Table, View, Writer};
use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{Error, Head, ReceiptThread, Rooms, relation::relation_of, timeline::parse_id};

/// Stands for a user id where the whole room is meant.
pub(crate) const EVERYBODY: &str = "*";

/// (room, user or everybody, position of the event) to the root of its thread, empty if in none.
pub(crate) const HIGHLIGHTS: Table<(String, String, Position), String> =
    Table::new(104, "highlights", Family::Index);

/// (room, position) of counted events in threads to thread root and sender.
pub(crate) const THREAD_EVENTS: Table<(String, Position), (String, String)> =
    Table::new(105, "thread_events", Family::Index);

/// (room, user) to the user's newest message.
pub(crate) const LAST_SENT: Table<(String, String), LastSent> =
    Table::new(106, "last_sent", Family::Index);

/// How many highlights and events in threads are looked at; counts stop there.
const MAX_COUNTED: usize = 1000;

/// Where a user's newest message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastSent {
    pub(crate) position: Position,
    pub(crate) counted: u64,
}

impl Part for LastSent {
    fn write(&self, w: &mut Writer) {
        (self.position, self.counted).write(w);
    }
}

impl ReadPart for LastSent {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (position, counted) = ReadPart::read(r)?;
        Ok(Self { position, counted })
    }
}

/// How much a user has not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that notify.
    pub notifications: u64,
    /// Events that mention the user.
    pub highlights: u64,
}

/// How much of a room a user has not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// In all of the room.
    pub all: Counts,
    /// Outside of threads.
    pub main: Counts,
    /// By thread, those with something unread.
    pub threads: BTreeMap<OwnedEventId, Counts>,
}

/// The root of the thread that the event is in.
#[must_use]
pub fn thread_root(pdu: &Pdu) -> Option<OwnedEventId> {
    let (rel_type, parent, _) = relation_of(pdu.content()).filter(|_| !pdu.is_state())?;
    (rel_type == "m.thread").then_some(parent)
}

/// The position of the newest event that is read, and the running total there.
type Mark = (Position, u64);

impl Unread {
    /// Counts what is in the thread with this root, or in none.
    pub fn add(&mut self, thread: Option<&EventId>, counts: Counts) {
        self.all.add(counts);
        match thread {
            None => self.main.add(counts),
            Some(root) if counts != Counts::default() => {
                self.threads.entry(root.to_owned()).or_default().add(counts);
            }
            Some(_) => {}
        }
    }
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.notifications += more.notifications;
        self.highlights += more.highlights;
    }
}

/// Of how many users in rooms is remembered up to where they have read.
const KNOWN_READ: usize = 10_000;

/// What is remembered of that.
pub(crate) struct KnownRead(Cache<(OwnedRoomId, OwnedUserId), Arc<Read>>);

impl Default for KnownRead {
    fn default() -> Self {
        Self(Cache::new(KNOWN_READ))
    }
}

/// Up to where a user has read by receipts and the join, while the room's newest signal is at `signalled`.
struct Read {
    signalled: Option<Position>,
    joined_at: Position,
    all: Mark,
    threads: BTreeMap<ReceiptThread, Mark>,
}

/// Up to where a user has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadMarks {
    all: Mark,
    main: Mark,
    threads: BTreeMap<ReceiptThread, Mark>,
}

impl ReadMarks {
    /// Up to where everything is read, whatever thread it is in.
    #[must_use]
    pub fn all(&self) -> Position {
        self.all.0
    }

    /// Whether an event is read, given the root of the thread that it is in.
    #[must_use]
    pub fn covers(&self, position: Position, thread: Option<&EventId>) -> bool {
        position <= self.since(thread.map_or("", EventId::as_str))
    }

    /// What is read of the thread with this root; of what is in no thread for an empty one.
    fn since(&self, thread: &str) -> Position {
        if thread.is_empty() {
            return self.main.0;
        }
        let mut marks = self.threads.iter();
        marks
            .find(|(key, _)| key.as_str() == Some(thread))
            .map_or(self.all.0, |(_, mark)| mark.0.max(self.all.0))
    }
}

impl Rooms {
    /// How much of the room the user, who is joined since `joined_at` ([`crate::Member::since`]), has not read.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn unread(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
        head: &Head,
        joined_at: Position,
    ) -> Result<Unread, Error> {
        let marks = self.marks(view, user, (room_id, head), joined_at).await?;
        let (all, main) = (marks.all, marks.main);
        let traits = self.traits(view, room_id, head).await?;
        let mut unread = Unread::default();
        // Counted events since the main mark, without those in threads, which have marks of their own.
        let in_threads = match traits.threaded {
            Some(last) if last > all.0 => self.thread_events(view, room_id, all.0).await?,
            _ => Vec::new(),
        };
        let threaded_since_main = in_threads.iter().filter(|(p, _, _)| *p > main.0).count();
        unread.main.notifications = head
            .counted
            .saturating_sub(main.1)
            .saturating_sub(u64::try_from(threaded_since_main).unwrap_or_default());
        for (position, root, sender) in in_threads {
            if position > marks.since(&root) && sender != user.as_str() {
                let counts = unread.threads.entry(parse_id(root)?).or_default();
                counts.notifications += 1;
            }
        }
        let may_be_meant = traits.highlighted.is_some_and(|last| last > all.0);
        let names = [user.as_str(), EVERYBODY];
        for name in names.into_iter().filter(|_| may_be_meant) {
            for (position, root) in self.highlights(view, room_id, name, all.0).await? {
                if position <= marks.since(&root) {
                    continue;
                }
                match root.as_str() {
                    "" => unread.main.highlights += 1,
                    _ => {
                        unread
                            .threads
                            .entry(parse_id(root)?)
                            .or_default()
                            .highlights += 1;
                    }
                }
            }
        }
        unread.all = unread
            .threads
            .values()
            .fold(unread.main, |sum, counts| Counts {
                notifications: sum.notifications + counts.notifications,
                highlights: sum.highlights + counts.highlights,
            });
        Ok(unread)
    }

    /// Up to where the user, who is joined since `joined_at` ([`crate::Member::since`]), has read.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn marks(
        &self,
        view: &View,
        user: &UserId,
        (room_id, head): (&RoomId, &Head),
        joined_at: Position,
    ) -> Result<ReadMarks, Error> {
        let read = self.read(view, user, (room_id, head), joined_at).await?;
        let key = (room_id.as_str(), user.as_str());
        let sent = view.get(&LAST_SENT, key).await?;
        let all = sent.map_or(read.all, |sent| read.all.max((sent.position, sent.counted)));
        let mut threads = read.threads.clone();
        let main = threads
            .remove(&ReceiptThread::Main)
            .map_or(all, |mark| mark.max(all));
        Ok(ReadMarks { all, main, threads })
    }

    /// Up to where the user has read by the receipts and the join alone; from memory if no receipt moved in the room.
    async fn read(
        &self,
        view: &View,
        user: &UserId,
        (room_id, head): (&RoomId, &Head),
        joined_at: Position,
    ) -> Result<Arc<Read>, Error> {
        let signalled = self.signalled(view, [room_id]).await?;
        let signalled = signalled.first().copied().flatten();
        let (known, key) = (&self.0.known_read.0, (room_id.to_owned(), user.to_owned()));
        if let Some(read) = known.get(&key)
            && (read.signalled, read.joined_at) == (signalled, joined_at)
        {
            return Ok(read);
        }
        let mut all = (joined_at, 0);
        let mut threads: BTreeMap<ReceiptThread, Mark> = BTreeMap::new();
        for receipt in self.receipts_of(view, room_id, user).await? {
            let mark = (receipt.read, receipt.counted);
            if receipt.thread == ReceiptThread::Unthreaded {
                all = all.max(mark);
            } else {
                let slot = threads.entry(receipt.thread).or_insert(mark);
                *slot = mark.max(*slot);
            }
        }
        if all.0 == joined_at {
            // Nothing read since: what came after the join counts.
            let place = (room_id, head);
            let newest = self
                .newest(view, place, (Position::ZERO, joined_at), 1)
                .await?;
            all.1 = newest.first().map_or(0, |event| event.counted);
        }
        let read = Arc::new(Read {
            signalled,
            joined_at,
            all,
            threads,
        });
        known.insert(key, read.clone());
        Ok(read)
    }

    async fn thread_events(
        &self,
        view: &View,
        room_id: &RoomId,
        after: Position,
    ) -> Result<Vec<(Position, String, String)>, Error> {
        let range = (room_id.as_str(), after.next())..(room_id.as_str(), Position::MAX);
        let found: Vec<((String, Position), (String, String))> = view
            .scan(&THREAD_EVENTS, range, Direction::Backward, MAX_COUNTED)
            .await?;
        Ok(found
            .into_iter()
            .map(|((_, position), (root, sender))| (position, root, sender))
            .collect())
    }

    async fn highlights(
        &self,
        view: &View,
        room_id: &RoomId,
        user: &str,
        after: Position,
    ) -> Result<Vec<(Position, String)>, Error> {
        let key = |position: Position| (room_id.as_str(), user, position);
        let found: Vec<((String, String, Position), String)> = view
            .scan(
                &HIGHLIGHTS,
                key(after.next())..key(Position::MAX),
                Direction::Backward,
                MAX_COUNTED,
            )
            .await?;
        Ok(found
            .into_iter()
            .map(|((_, _, position), root)| (position, root))
            .collect())
    }
}
