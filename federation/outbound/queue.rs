//! Owns the queue of each server: what is to be sent to it, in order; and for one that has not answered for long, or for which
//! much waits, the newest event of each room, from which it finds the rest. Must never grow without bound while a server does
//! not answer: `tail.rs` and `trim.rs` see to that.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#transactions>

use hearth_store::{
    Batch, Direction, Error as StoreError, Family, Part, Position, ReadPart, Reader, Store, Table,
    View, Writer,
};
use ruma::{OwnedServerName, ServerName};

/// (server, position) to what is to be sent.
const QUEUES: Table<(String, Position), Item> = Table::new(205, "outbound_queues", Family::Log);

/// (server, room) to the newest event that the server did not get.
const BEHIND: Table<(String, String), String> = Table::new(206, "outbound_behind", Family::Index);

/// How much of a queue is read together.
const PAGE: usize = 1_000;

/// How many servers one look finds.
const MAX_SERVERS: usize = 10_000;

/// Something that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The event with this id.
    Event(String),
    /// A message, as JSON.
    Message(String),
}

impl Part for Item {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Event(id) => (0_u8, id).write(w),
            Self::Message(json) => (1_u8, json).write(w),
        }
    }
}

impl ReadPart for Item {
    fn read(r: &mut Reader<'_>) -> Result<Self, StoreError> {
        match u8::read(r)? {
            0 => Ok(Self::Event(String::read(r)?)),
            1 => Ok(Self::Message(String::read(r)?)),
            other => Err(StoreError::Corrupt(format!(
                "an outbound item of kind {other}"
            ))),
        }
    }
}

/// Puts an event on the queue of a server, or remembers it as the newest of its room if the server is left alone for
/// long.
pub(super) fn plan_event(
    batch: &mut Batch,
    server: &ServerName,
    (room_id, event_id): (&str, &str),
    is_left_alone: bool,
) {
    if is_left_alone {
        batch.put(&BEHIND, (server.as_str(), room_id), event_id);
    } else {
        let position = batch.position();
        let item = Item::Event(event_id.to_owned());
        batch.put(&QUEUES, (server.as_str(), position), item);
    }
}

/// Puts a message on the queue of a server.
pub(super) fn plan_message(batch: &mut Batch, server: &ServerName, json: &str) {
    let position = batch.position();
    let item = Item::Message(json.to_owned());
    batch.put(&QUEUES, (server.as_str(), position), item);
}

/// Puts a message on the queues of servers, durably.
///
/// # Errors
/// Those of the store.
pub(crate) async fn queue(
    store: &Store,
    servers: &[OwnedServerName],
    json: &str,
) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for server in servers {
        plan_message(&mut batch, server, json);
    }
    match store.commit(batch).await {
        // Nothing is asserted.
        Ok(_) | Err(hearth_store::CommitError::Conflict) => Ok(()),
        Err(hearth_store::CommitError::Failed(error)) => Err(error),
    }
}

/// What a server is to get next.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The newest events of rooms of which it did not get all: room and event.
    pub(super) behind: Vec<(String, String)>,
    /// What waits in its queue.
    pub(super) items: Vec<(Position, Item)>,
}

/// The next load of a server.
pub(super) async fn next(
    view: &View,
    server: &ServerName,
    (events, messages): (usize, usize),
) -> Result<Load, StoreError> {
    let name = server.as_str();
    let behind = view
        .scan_prefix(&BEHIND, (name,), Direction::Forward, events)
        .await?;
    let mut load = Load {
        behind: behind
            .into_iter()
            .map(|((_, room), event)| (room, event))
            .collect(),
        items: Vec::new(),
    };
    let (mut events, mut messages) = (events - load.behind.len(), messages);
    let waiting = view
        .scan_prefix(&QUEUES, (name,), Direction::Forward, events + messages)
        .await?;
    for ((_, position), item) in waiting {
        let left = match item {
            Item::Event(_) => &mut events,
            Item::Message(_) => &mut messages,
        };
        // The order of the queue is kept.
        if *left == 0 {
            break;
        }
        *left -= 1;
        load.items.push((position, item));
    }
    Ok(load)
}

/// Takes from a server's queue what it got.
pub(super) fn plan_done(batch: &mut Batch, server: &ServerName, load: &Load) {
    for (position, _) in &load.items {
        batch.delete(&QUEUES, (server.as_str(), *position));
    }
    for (room, event) in &load.behind {
        let key = (server.as_str(), room.as_str());
        // If a newer one came meanwhile, the commit conflicts and the older is sent once more.
        batch.assert_equals(&BEHIND, key, event.as_str());
        batch.delete(&BEHIND, key);
    }
}

/// The oldest of what waits in a server's queue.
pub(super) async fn waiting(
    view: &View,
    server: &ServerName,
    limit: usize,
) -> Result<Vec<(Position, Item)>, StoreError> {
    let mut found = Vec::new();
    let mut from = Position::ZERO;
    while found.len() < limit {
        let range = (server.as_str(), from)..(server.as_str(), Position::MAX);
        let page = view.scan(&QUEUES, range, Direction::Forward, PAGE).await?;
        let is_last = page.len() < PAGE;
        for ((_, position), item) in page {
            from = position.next();
            found.push((position, item));
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Remembers an event as the newest of its room that the server did not get, unless a newer one is remembered.
pub(super) async fn plan_behind(
    view: &View,
    batch: &mut Batch,
    server: &ServerName,
    (room_id, event_id): (&str, &str),
) -> Result<(), StoreError> {
    let key = (server.as_str(), room_id);
    if view.get(&BEHIND, key).await?.is_none() {
        batch.assert_absent(&BEHIND, key);
        batch.put(&BEHIND, key, event_id);
    }
    Ok(())
}

/// Takes something from a server's queue.
pub(super) fn plan_gone(batch: &mut Batch, server: &ServerName, position: Position) {
    batch.delete(&QUEUES, (server.as_str(), position));
}

/// The servers for which something waits.
pub(super) async fn servers(view: &View) -> Result<Vec<OwnedServerName>, StoreError> {
    let mut found = Vec::new();
    let mut from = String::new();
    while found.len() < MAX_SERVERS {
        let range = (from.as_str(), Position::ZERO)..("\u{10FFFF}", Position::ZERO);
        let next = view.scan(&QUEUES, range, Direction::Forward, 1).await?;
        let Some(((server, _), _)) = next.into_iter().next() else {
            break;
        };
        from = after(&server);
        found.push(server);
    }
    let mut from = String::new();
    while found.len() < MAX_SERVERS {
        let range = (from.as_str(), "")..("\u{10FFFF}", "");
        let next = view.scan(&BEHIND, range, Direction::Forward, 1).await?;
        let Some(((server, _), _)) = next.into_iter().next() else {
            break;
        };
        from = after(&server);
        found.push(server);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found
        .into_iter()
        .filter_map(|server| OwnedServerName::try_from(server).ok())
        .collect())
}

/// The lowest text above a name.
fn after(name: &str) -> String {
    format!("{name}\u{1}")
}
