//! Owns the messages that wait for devices: a queue each, in the order of the log. Must never drop a message before its
//! device asked for what comes after it, except the oldest ones of a queue that is full.
//!
//! A device acknowledges by asking `/sync` for what comes after a position. Whatever removes messages takes them from the
//! front and asserts that the first is still there, so that the count of each queue is exact.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#send-to-device-messaging>

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hearth_base::Millis;
use hearth_store::{Batch, Direction, Family, Position, Table, Topic, View};
use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId, TransactionId, UserId, events::AnyToDeviceEvent,
    serde::Raw, to_device::DeviceIdOrAllDevices,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Error, Refusal, Users};

/// How many messages wait for one device at most; beyond, the oldest go.
const MAX_QUEUE: usize = 10_000;
/// How many of the oldest go at once, so that a full queue is not trimmed for every message.
const TRIMMED_AT_ONCE: usize = 100;
/// The longest content of one message in bytes: that of an event.
const MAX_CONTENT_BYTES: usize = 65_536;
/// The longest event type in bytes.
const MAX_TYPE_BYTES: usize = 255;
/// How many devices one request may reach.
const MAX_RECIPIENTS: usize = 10_000;
/// How often a request is planned again.
const ATTEMPTS: usize = 32;
/// How many messages are removed in one commit.
const REMOVED_AT_ONCE: usize = 1_000;
/// How long a transaction id is remembered, in milliseconds: a day.
const TRANSACTION_LIFETIME: u64 = 24 * 60 * 60 * 1_000;
/// How many forgotten transaction ids each request removes.
const FORGOTTEN_AT_ONCE: usize = 4;

/// (user, device, position) to the event as its device sees it.
const QUEUES: Table<(String, String, Position), Bytes> = Table::new(59, "to_device", Family::Log);
/// (user, device) to how many messages wait.
const COUNTS: Table<(String, String), i64> = Table::new(60, "to_device_counts", Family::Records);
/// (sender, device, event type and transaction id): it was carried out.
const TRANSACTIONS: Table<(String, String, String), ()> =
    Table::new(61, "to_device_transactions", Family::Records);
/// (sender, device, position) to when, and which transaction id.
const TRANSACTION_TIMES: Table<(String, String, Position), (u64, String)> =
    Table::new(62, "to_device_transaction_times", Family::Log);

/// Contents by user and device, as in a request.
pub type ToDeviceMessages<C> = BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, Raw<C>>>;

/// The event as its device sees it.
#[derive(Serialize)]
struct Event<'a> {
    sender: &'a UserId,
    #[serde(rename = "type")]
    kind: &'a str,
    content: &'a RawValue,
}

impl Users {
    /// Queues messages for devices of this server, once for each transaction id of the sending device. Users of other
    /// servers and unknown devices are passed over.
    ///
    /// # Errors
    /// `TooLarge` for a content that is too long or too many devices; `BadJson` for one that is not canonical JSON;
    /// `Busy` when others were faster each time.
    pub async fn send_to_device<C>(
        &self,
        sender: (&UserId, &DeviceId),
        kind: &str,
        transaction: &TransactionId,
        messages: &ToDeviceMessages<C>,
    ) -> Result<(), Error> {
        check(kind, messages)?;
        let (user, device) = sender;
        let id = format!("{kind} {transaction}");
        let place = (user.as_str(), device.as_str(), id.as_str());
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            if view.get(&TRANSACTIONS, place).await?.is_some() {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.assert_absent(&TRANSACTIONS, place);
            batch.put(&TRANSACTIONS, place, ());
            let times = (user.as_str(), device.as_str(), batch.position());
            batch.put(&TRANSACTION_TIMES, times, (self.clock.now().0, id.as_str()));
            forget_transactions(&view, &mut batch, user, device, self.clock.now()).await?;
            self.plan_messages(&view, &mut batch, user, kind, messages)
                .await?;
            if self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    async fn plan_messages<C>(
        &self,
        view: &View,
        batch: &mut Batch,
        sender: &UserId,
        kind: &str,
        messages: &ToDeviceMessages<C>,
    ) -> Result<(), Error> {
        let mut reached = 0;
        for (user, devices) in messages {
            if user.server_name() != self.server_name {
                continue;
            }
            let known = self.devices(view, user).await?;
            let mut trimmed = BTreeSet::new();
            for (target, content) in devices {
                let event = Event {
                    sender,
                    kind,
                    content: content.json(),
                };
                let event = serde_json::to_vec(&event)
                    .map_err(|error| Error::refused(Refusal::BadJson, error.to_string()))?;
                let event = Bytes::from(event);
                for device in known.iter().map(|device| &device.device_id) {
                    if !meant(target, device) {
                        continue;
                    }
                    reached += 1;
                    if reached > MAX_RECIPIENTS {
                        return Err(Error::refused(Refusal::TooLarge, "too many devices"));
                    }
                    if trimmed.insert(device) {
                        trim(view, batch, user, device).await?;
                    }
                    let place = (user.as_str(), device.as_str(), batch.position());
                    batch.put(&QUEUES, place, event.clone());
                    batch.add(&COUNTS, (user.as_str(), device.as_str()), 1);
                    batch.wake(Topic::new('u', user.as_str()));
                }
            }
        }
        Ok(())
    }

    /// The messages that wait for a device after `after` (exclusive) up to `upto` (inclusive), oldest first, `limit` at most. When that
    /// many came back there may be more: the next token is then the last one's position.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn to_device_since(
        &self,
        view: &View,
        user: &UserId,
        device: &DeviceId,
        after: Position,
        upto: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Raw<AnyToDeviceEvent>)>, Error> {
        let (user, device) = (user.as_str(), device.as_str());
        if !has_messages(view, user, device).await? {
            return Ok(Vec::new());
        }
        let range = (user, device, after.next())..(user, device, upto.next());
        let found = view.scan(&QUEUES, range, Direction::Forward, limit).await?;
        let event = |((_, _, position), json): (_, Bytes)| {
            let corrupt =
                || hearth_store::Error::Corrupt("a stored message is not JSON".to_owned());
            let text = String::from_utf8(json.into()).map_err(|_| corrupt())?;
            let raw = RawValue::from_string(text).map_err(|_| corrupt())?;
            Ok((position, Raw::from_json(raw)))
        };
        found.into_iter().map(event).collect()
    }

    /// Removes what a device has acknowledged: all messages at or below `upto`. Costs one short read when there is nothing.
    ///
    /// # Errors
    /// `Busy` when others were faster each time; those of the store.
    pub async fn acknowledge_to_device(
        &self,
        user: &UserId,
        device: &DeviceId,
        upto: Position,
    ) -> Result<(), Error> {
        let mut conflicts = 0;
        while conflicts < ATTEMPTS {
            let view = self.store.view().await?;
            if !has_messages(&view, user.as_str(), device.as_str()).await? {
                return Ok(());
            }
            let range = (user.as_str(), device.as_str(), Position::ZERO)
                ..(user.as_str(), device.as_str(), upto.next());
            let found = view
                .scan(&QUEUES, range, Direction::Forward, REMOVED_AT_ONCE)
                .await?;
            if found.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            remove(&mut batch, user, device, &found);
            match self.try_commit(batch).await? {
                Some(_) if found.len() < REMOVED_AT_ONCE => return Ok(()),
                Some(_) => {}
                None => conflicts += 1,
            }
        }
        Err(Error::Busy)
    }

    /// Plans the end of a device's queue and of its transaction ids.
    pub(crate) async fn plan_queue_removal(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<(), Error> {
        let of_device = (user.as_str(), device.as_str());
        let forward = Direction::Forward;
        let queue = view
            .scan_prefix(&QUEUES, of_device, forward, MAX_QUEUE)
            .await?;
        for (key, _) in queue {
            batch.delete(&QUEUES, key);
        }
        batch.delete(&COUNTS, of_device);
        let times = view
            .scan_prefix(&TRANSACTION_TIMES, of_device, forward, MAX_QUEUE)
            .await?;
        for ((user, device, position), (_, id)) in times {
            batch.delete(&TRANSACTIONS, (&user, &device, id));
            batch.delete(&TRANSACTION_TIMES, (user, device, position));
        }
        Ok(())
    }
}

fn check<C>(kind: &str, messages: &ToDeviceMessages<C>) -> Result<(), Error> {
    if kind.len() > MAX_TYPE_BYTES {
        return Err(Error::refused(
            Refusal::TooLarge,
            "the event type is too long",
        ));
    }
    for content in messages.values().flat_map(BTreeMap::values) {
        if content.json().get().len() > MAX_CONTENT_BYTES {
            return Err(Error::refused(
                Refusal::TooLarge,
                "the content of a message is too long",
            ));
        }
        hearth_protocol::check_content(content.json())?;
    }
    Ok(())
}

fn meant(target: &DeviceIdOrAllDevices, device: &OwnedDeviceId) -> bool {
    match target {
        DeviceIdOrAllDevices::AllDevices => true,
        DeviceIdOrAllDevices::DeviceId(one) => one == device,
    }
}

/// Makes room in a full queue.
async fn trim(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
) -> Result<(), Error> {
    let of_device = (user.as_str(), device.as_str());
    let count = view.get(&COUNTS, of_device).await?.unwrap_or_default();
    if usize::try_from(count).is_ok_and(|count| count < MAX_QUEUE) {
        return Ok(());
    }
    let oldest = view
        .scan_prefix(&QUEUES, of_device, Direction::Forward, TRIMMED_AT_ONCE)
        .await?;
    remove(batch, user, device, &oldest);
    Ok(())
}

/// Removes messages from the front of a queue, unless somebody else did.
fn remove(
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
    front: &[((String, String, Position), Bytes)],
) {
    let Some((first, event)) = front.first() else {
        return;
    };
    batch.assert_equals(&QUEUES, first, event);
    for (key, _) in front {
        batch.delete(&QUEUES, key);
    }
    let count = i64::try_from(front.len()).unwrap_or(i64::MAX);
    batch.add(&COUNTS, (user.as_str(), device.as_str()), -count);
}

/// Forgets a few transaction ids that are too old to come again.
async fn forget_transactions(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
    now: Millis,
) -> Result<(), Error> {
    let of_device = (user.as_str(), device.as_str());
    let oldest = view
        .scan_prefix(
            &TRANSACTION_TIMES,
            of_device,
            Direction::Forward,
            FORGOTTEN_AT_ONCE,
        )
        .await?;
    for (key, (time, id)) in oldest {
        if time.saturating_add(TRANSACTION_LIFETIME) < now.0 {
            batch.delete(&TRANSACTIONS, (user.as_str(), device.as_str(), id));
            batch.delete(&TRANSACTION_TIMES, key);
        }
    }
    Ok(())
}

/// Whether messages wait for the device, by the count of its queue.
async fn has_messages(view: &View, user: &str, device: &str) -> Result<bool, Error> {
    let count = view.get(&COUNTS, (user, device)).await?;
    Ok(count.is_some_and(|count| count != 0))
}

#[cfg(test)]
mod tests;
