//! Owns the scenarios of messages that other servers send: transactions of fifty, one at a time from each server.

use std::{collections::HashSet, ops::Range, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use hearth_protocol::Pdu;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{Scene, call::Parcel, figures, join, room::Room, watch::Watch};
use crate::{
    Failure,
    http::Client,
    matrix::User,
    measure::{Meter, Sample, count},
    server::Server,
};

/// How many events a transaction holds: the most that is allowed.
const EACH: usize = 50;

/// How many members the rooms have.
const MEMBERS: usize = 20;

/// How long the last events may take to be shown.
const LONGEST: Duration = Duration::from_secs(300);

/// Messages of a server in its room, in transactions.
struct Flow {
    room: Room,
    events: Vec<Arc<Pdu>>,
    parcels: Vec<Parcel>,
}

impl Flow {
    /// Sends each transaction when the one before is shown: of events that are further behind Synapse lets some fall.
    async fn send(&self, server: &Server, user: &User) -> Result<(), Failure> {
        let (mut sender, mut reader) = (server.client(), server.client());
        for (parcel, events) in self.parcels.iter().zip(self.events.chunks(EACH)) {
            parcel.send(&mut sender).await?;
            let last = events.last().ok_or("an empty transaction")?;
            until_shown(&mut reader, user, &self.room, last).await?;
        }
        Ok(())
    }
}

/// In the rooms of these numbers at once, each of the server of its number; `each` transactions in each of them.
pub(super) async fn inbound(
    scene: &Scene,
    server: &Server,
    rooms: Range<usize>,
    each: usize,
) -> Result<Sample, Failure> {
    let user = &server.crowd.talk[0];
    let mut flows = Vec::new();
    let count_of_rooms = rooms.len();
    for number in rooms {
        flows.push(prepare(scene, server, user, number, each).await?);
    }
    let total = count_of_rooms * each * EACH;
    server.until_it_rests().await;
    let (watch, meter) = (Watch::start(server), Meter::start(server));
    let sending = flows.iter().map(|flow| flow.send(server, user));
    try_join_all(sending).await?;
    let (seconds, cpu) = meter.so_far(server);
    let (_, growth) = watch.end()?;
    for flow in &flows {
        are_all_shown(server, user, flow).await?;
    }
    let scenario = format!("federation_inbound_{count_of_rooms}");
    let mut sample = figures(
        server,
        &scenario,
        &[("growth_mb", growth / 1e6), ("events", count(total))],
    );
    sample.rate_per_s = Some(count(total) / seconds);
    sample.cpu_s_per_1000 = Some(cpu * 1000.0 / count(total));
    Ok(sample)
}

/// Lets a user into a room of another server, and has that write its messages.
async fn prepare(
    scene: &Scene,
    server: &Server,
    user: &User,
    number: usize,
    each: usize,
) -> Result<Flow, Failure> {
    let host = scene.hosts[number].clone();
    let name = format!("talk{number}");
    let mut room = Room::make(&name, std::slice::from_ref(&host), MEMBERS, MEMBERS + 10)?;
    scene
        .peer
        .known()
        .rooms
        .insert(room.id.to_string(), room.clone());
    join::enter(&host, server, user, &room).await?;
    join::until_complete(server, user, &room, MEMBERS + 1).await?;
    if let Some(joined) = scene.peer.known().rooms.get(room.id.as_str()) {
        room = joined.clone();
    }
    let events = (0..each * EACH)
        .map(|turn| {
            let text =
                format!("Shall we meet at seven in front of the station? I bring {turn} tickets.");
            room.say((&host, turn % MEMBERS), &text)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let parcels = events
        .chunks(EACH)
        .enumerate()
        .map(|(turn, events)| {
            let events: Vec<_> = events.iter().map(|event| event.json()).collect();
            Parcel::pack(&host, &format!("talk-{turn}"), &events)
        })
        .collect::<Result<Vec<_>, _>>()?;
    // What lies between two of them can be asked for.
    scene
        .peer
        .known()
        .rooms
        .insert(room.id.to_string(), room.clone());
    Ok(Flow {
        room,
        events,
        parcels,
    })
}

/// Waits until an event is shown to `user`.
async fn until_shown(
    client: &mut Client,
    user: &User,
    room: &Room,
    event: &Pdu,
) -> Result<(), Failure> {
    let path = format!(
        "/_matrix/client/v3/rooms/{}/event/{}",
        room.id,
        event.event_id()
    );
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(2));
    while !client.get(user, &path).await?.status.is_success() {
        if begin.elapsed() > LONGEST {
            return Err("the last event is not shown".into());
        }
        sleep(pause).await;
        pause = (2 * pause).min(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether all events are in the timeline that a client reads.
async fn are_all_shown(server: &Server, user: &User, flow: &Flow) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        chunk: Vec<Shown>,
        #[serde(default)]
        end: Option<String>,
    }
    #[derive(Deserialize)]
    struct Shown {
        event_id: String,
    }
    let mut missing: HashSet<&str> = flow
        .events
        .iter()
        .map(|event| event.event_id().as_str())
        .collect();
    let (mut client, mut from) = (server.client(), String::new());
    for _ in 0..flow.events.len() {
        let room = &flow.room.id;
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=500{from}");
        let page: Page = serde_json::from_slice(&client.get(user, &path).await?.good()?)?;
        for shown in &page.chunk {
            missing.remove(shown.event_id.as_str());
        }
        let Some(end) = page.end.filter(|_| !missing.is_empty()) else {
            break;
        };
        from = format!("&from={end}");
    }
    match missing.len() {
        0 => Ok(()),
        few => Err(format!("{few} of {} messages are not shown", flow.events.len()).into()),
    }
}
