//! Owns the messages to a device. Must never let a token pass one that was not shown: it would be removed unseen.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#send-to-device-messaging>

use hearth_store::Position;
use serde_json::value::RawValue;

use crate::{Error, window::Reading};

/// How many messages an answer holds.
const MOST: usize = 100;

/// Messages, oldest first.
pub(crate) struct Messages {
    pub(crate) events: Vec<Box<RawValue>>,
    /// Everything at or below it was shown.
    pub(crate) upto: Position,
}

/// The messages that wait for the device.
pub(crate) async fn read(reading: &Reading<'_>) -> Result<Messages, Error> {
    let session = reading.session;
    let after = reading
        .request
        .since
        .map_or(Position::ZERO, |since| since.to_device);
    let found = reading
        .users()
        .to_device_since(
            reading.view,
            &session.user_id,
            &session.device_id,
            after,
            reading.upto(),
            MOST,
        )
        .await?;
    let upto = match found.last() {
        Some((last, _)) if found.len() == MOST => *last,
        _ => reading.upto(),
    };
    Ok(Messages {
        events: found
            .into_iter()
            .map(|(_, event)| event.into_json())
            .collect(),
        upto,
    })
}
