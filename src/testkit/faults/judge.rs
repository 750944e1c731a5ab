//! What must hold in the end. Must never forgive: whatever is not as it should be is told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use hearth_base::SystemRng;
use hearth_store::{
    Direction, MemoryHints, Position, Store, View,
    engines::postgres::{self, Options},
    leases,
};
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    client::{Client, Question},
    cluster::Cluster,
    plan::{Dice, MACHINES},
    reader::{Read, list},
    run::{Happened, Seen},
    tables::{DONE, EFFECTS, LEASES, TALLY, WORK, lease},
};

/// How long after another fault a wait is still put down to that one.
const AFTERMATH: Duration = Duration::from_secs(9);

/// How long after a death a wait is put down to it.
const AFTER_DEATH: Duration = Duration::from_secs(6);

/// The longest wait of a reader for a message after a node died.
const LONGEST_STALL: Duration = Duration::from_secs(2);

/// The longest time that work lies after its node died.
const LONGEST_TAKEOVER: Duration = Duration::from_secs(5);

/// How long after the last fault leases may be on their way.
const TO_SPREAD: Duration = Duration::from_secs(15);

/// How late a node may learn what it could not hear, because it stood still or Redis was gone (decision 14).
const LONGEST_HINT: Duration = Duration::from_secs(3);

/// How many leases the nodes share: sixteen to send to other servers, one to distribute, one to remove, one to take up,
/// one to compare heads, one to tell of alarms, one to complete rooms.
const NODES_LEASES: usize = 22;

/// How many records are read together.
const PAGE: usize = 1000;

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    wrong: Vec<String>,
    messages: usize,
    gaps: usize,
    work: usize,
    /// The longest that a reader waited after a death, and at all.
    pub(crate) stall: Duration,
    longest: Duration,
    /// The longest that work lay after a death.
    pub(crate) takeover: Duration,
}

impl Verdict {
    pub(crate) fn failed(why: String) -> Self {
        Self {
            wrong: vec![why],
            ..Self::default()
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Whether something took longer than it may. That is told apart, since a machine with too much to do makes everything late.
    pub(crate) fn is_late(&self) -> bool {
        self.stall > LONGEST_STALL || self.takeover > LONGEST_TAKEOVER
    }

    fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.wrong.len() < 20 {
            self.wrong.push(what());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.is_good(), self.is_late()) {
            (true, false) => "good",
            (true, true) => "good but LATE",
            (false, _) => "WRONG",
        };
        write!(
            f,
            "{word}: {} messages, {} gaps, {} pieces of work; longest wait {:.1?}, after a death {:.1?}, of work {:.1?}",
            self.messages, self.gaps, self.work, self.longest, self.stall, self.takeover
        )?;
        self.wrong
            .iter()
            .try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}

/// Judges what was seen, and what is stored.
pub(crate) async fn judge(cluster: &Cluster, seen: &Seen) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::default();
    let mut client = Client::of(cluster.hosts(), Dice::of(0, 0))?;
    client.speak_for(seen.token.clone());
    for room in &seen.rooms {
        let mut histories = Vec::new();
        for machine in 0..MACHINES {
            client.move_to(machine);
            histories.push(history(&mut client, room).await?);
        }
        for (machine, history) in histories.iter().enumerate() {
            verdict.demand(*history == histories[0], || {
                format!("node {machine} tells the history of {room} differently")
            });
        }
        timelines(&mut verdict, seen, room, &histories[0]);
    }
    far(&mut verdict, seen);
    verdict.gaps = seen.read.iter().map(|read| read.gaps).sum();
    transactions(&mut verdict, seen);
    signals(&mut verdict, seen);
    keys(&mut verdict, seen);
    topics(&mut verdict, seen, &mut client).await?;
    revoked(&mut verdict, seen, &mut client).await?;
    for (room, event) in seen.written.iter().flat_map(|written| &written.redacted) {
        for machine in 0..MACHINES {
            client.move_to(machine);
            let path = format!("/rooms/{room}/event/{event}");
            let until = Instant::now() + LONGEST_HINT;
            let mut found = client.insist(Question::get(&path)).await?;
            while !found["content"]["body"].is_null() && Instant::now() < until {
                found = client.insist(Question::get(&path)).await?;
            }
            verdict.demand(found["content"]["body"].is_null(), || {
                format!("node {machine} shows {event}, which was redacted")
            });
        }
    }
    stalls(&mut verdict, seen);
    work(&mut verdict, cluster, seen).await?;
    Ok(verdict)
}

/// The messages of a room, the oldest first, as its history tells.
async fn history(client: &mut Client, room: &str) -> Result<Vec<String>, Failure> {
    let (mut events, mut from) = (Vec::new(), String::new());
    loop {
        let path = format!("/rooms/{room}/messages?dir=b&limit=500{from}");
        let page = client.insist(Question::get(&path)).await?;
        let messages = list(&page["chunk"])
            .iter()
            .filter(|event| event["type"] == "m.room.message");
        events.extend(messages.filter_map(|event| Some(event["event_id"].as_str()?.to_owned())));
        match page["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => break,
        }
    }
    events.reverse();
    Ok(events)
}

/// Every reader has the room's history, whole, once, and in its order.
fn timelines(verdict: &mut Verdict, seen: &Seen, room: &str, history: &[String]) {
    verdict.messages += history.len();
    for (n, read) in seen.read.iter().enumerate() {
        let own = read.timelines.get(room).into_iter().flatten();
        let own: Vec<&str> = own.map(|(event, _)| event.as_str()).collect();
        let known: HashSet<&str> = own.iter().copied().collect();
        verdict.demand(known.len() == own.len(), || {
            let twice = own
                .iter()
                .filter(|id| own.iter().filter(|other| other == id).count() > 1);
            format!(
                "reader {n} got events twice: {:?}",
                twice.collect::<HashSet<_>>()
            )
        });
        let missing: Vec<_> = history
            .iter()
            .filter(|event| !known.contains(event.as_str()))
            .collect();
        verdict.demand(missing.is_empty(), || {
            format!("reader {n} never got {missing:?}")
        });
        verdict.demand(own.iter().eq(history.iter()), || {
            let at = own.iter().zip(history).position(|(a, b)| a != b);
            format!("reader {n} got events of {room} in another order, from number {at:?} on")
        });
    }
}

/// The other server has every message, and each once; in which order, it decides by itself.
fn far(verdict: &mut Verdict, seen: &Seen) {
    for room in &seen.rooms {
        let events = |read: &Read| -> Vec<String> {
            let events = read.timelines.get(room).into_iter().flatten();
            let mut events: Vec<_> = events.map(|(event, _)| event.clone()).collect();
            events.sort_unstable();
            events
        };
        let (here, there) = (events(&seen.read[0]), events(&seen.far));
        verdict.demand(here == there, || {
            let lacks: Vec<_> = here.iter().filter(|event| !there.contains(event)).collect();
            let (here, there) = (here.len(), there.len());
            format!(
                "the other server shows {there} of {here} messages of {room}, without {lacks:?}"
            )
        });
    }
}

/// Every acknowledged message is one event, and there are no others.
fn transactions(verdict: &mut Verdict, seen: &Seen) {
    let mut acknowledged: HashMap<&str, &str> = HashMap::new();
    for (body, (event, _)) in seen.written.iter().flat_map(|written| &written.messages) {
        acknowledged.insert(event, body);
    }
    for (n, read) in seen.read.iter().enumerate() {
        let got: HashSet<&str> = read
            .timelines
            .values()
            .flatten()
            .map(|(event, _)| event.as_str())
            .collect();
        for (event, body) in &acknowledged {
            verdict.demand(got.contains(event), || {
                format!("{body} was acknowledged as {event}, and reader {n} has it not")
            });
        }
        for event in &got {
            verdict.demand(acknowledged.contains_key(event), || {
                let body = read.bodies.get(*event);
                format!("{event} ({body:?}) is a second event of a transaction")
            });
        }
    }
}

/// Every message to devices came once.
fn signals(verdict: &mut Verdict, seen: &Seen) {
    let sent: HashSet<&String> = seen
        .written
        .iter()
        .flat_map(|written| &written.signals)
        .collect();
    for (n, read) in seen.read.iter().chain([&seen.far]).enumerate() {
        let got: HashSet<&String> = read.signals.iter().collect();
        verdict.demand(got.len() == read.signals.len(), || {
            format!(
                "reader {n} got a message to its device twice: {:?}",
                read.signals
            )
        });
        let missing: Vec<_> = sent.difference(&got).collect();
        verdict.demand(missing.is_empty(), || {
            format!("reader {n} never got the messages to its device {missing:?}")
        });
    }
}

/// No one-time key was given out twice.
fn keys(verdict: &mut Verdict, seen: &Seen) {
    let mut given = HashSet::new();
    for key in seen.written.iter().flat_map(|written| &written.keys) {
        verdict.demand(given.insert(key), || format!("{key} was claimed twice"));
    }
}

/// The state of a room is what its last event of that kind says, on every node.
async fn topics(verdict: &mut Verdict, seen: &Seen, client: &mut Client) -> Result<(), Failure> {
    for room in &seen.rooms {
        let path = format!(
            "/rooms/{room}/messages?dir=b&limit=1&filter=%7B%22types%22:%5B%22m.room.topic%22%5D%7D"
        );
        let page = client.insist(Question::get(&path)).await?;
        let Some(last) = list(&page["chunk"]).first() else {
            continue;
        };
        for machine in 0..MACHINES {
            client.move_to(machine);
            let path = format!("/rooms/{room}/state/m.room.topic");
            let topic = client.insist(Question::get(&path)).await?;
            verdict.demand(topic == last["content"], || {
                let last = &last["content"];
                format!("node {machine} says that {topic} is the topic of {room}, not {last}")
            });
        }
    }
    Ok(())
}

/// Who was logged out is unknown to every node.
async fn revoked(verdict: &mut Verdict, seen: &Seen, client: &mut Client) -> Result<(), Failure> {
    let own = seen.token.clone();
    for token in seen.written.iter().flat_map(|written| &written.revoked) {
        client.speak_for(token.clone());
        for machine in 0..MACHINES {
            client.move_to(machine);
            let until = Instant::now() + LONGEST_HINT;
            let mut is_known = client.is_known().await?;
            while is_known && Instant::now() < until {
                is_known = client.is_known().await?;
            }
            verdict.demand(!is_known, || {
                format!("node {machine} knows an access token that was logged out")
            });
        }
    }
    client.speak_for(own);
    Ok(())
}

/// How long readers waited for what was acknowledged.
fn stalls(verdict: &mut Verdict, seen: &Seen) {
    let messages = seen
        .written
        .iter()
        .flat_map(|written| written.messages.values());
    let acknowledged: HashMap<&str, Duration> =
        messages.map(|(event, at)| (event.as_str(), *at)).collect();
    for (event, came) in seen
        .read
        .iter()
        .flat_map(|read| read.timelines.values().flatten())
    {
        let Some(at) = acknowledged.get(event.as_str()) else {
            continue;
        };
        let waited = came.saturating_sub(*at);
        verdict.longest = verdict.longest.max(waited);
        if is_of_a_death(&seen.happened, *at, *came) {
            verdict.stall = verdict.stall.max(waited);
        }
    }
}

/// Whether nothing but deaths of nodes can have made something of this time late.
fn is_of_a_death(happened: &[Happened], from: Duration, to: Duration) -> bool {
    let touches = |it: &Happened, after: Duration| it.from <= to && from <= it.to + after;
    let others = happened.iter().filter(|it| !it.fault.is_kill());
    let mut deaths = happened.iter().filter(|it| it.fault.is_kill());
    !others.into_iter().any(|it| touches(it, AFTERMATH))
        && deaths.any(|it| touches(it, AFTER_DEATH))
}

/// Work under leases had effect once, under one holder at a time, and did not lie for long.
async fn work(verdict: &mut Verdict, cluster: &Cluster, seen: &Seen) -> Result<(), Failure> {
    let options = Options::at(cluster.database_url());
    let engine = postgres::open(options, Arc::new(SystemRng)).await?;
    let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
    spread(verdict, &store).await?;
    let view = store.view().await?;
    for number in 0..LEASES {
        let name = lease(number);
        let mut next = 0;
        loop {
            let range = (name.as_str(), next)..(name.as_str(), u64::MAX);
            let page = view.scan(&EFFECTS, range, Direction::Forward, PAGE).await?;
            let Some(((_, last), _)) = page.last() else {
                let done = view.get(&DONE, name.as_str()).await?.unwrap_or(0);
                verdict.demand(done == next, || {
                    format!("of {done} pieces of {name} {next} had effect")
                });
                break;
            };
            let last = *last;
            for ((_, piece), effects) in &page {
                verdict.demand(*effects == 1, || {
                    format!("piece {piece} of {name} had effect {effects} times")
                });
            }
            next = last + 1;
        }
    }
    let mut holders: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (name, epoch, at) in done(&view).await? {
        verdict.work += 1;
        if let Some((before, then)) = holders.get(&name) {
            verdict.demand(*before <= epoch, || {
                format!("{name} was worked on under epoch {epoch} after {before}")
            });
            let time = |at: u64| Duration::from_millis(at.saturating_sub(seen.began));
            let lay = time(at).saturating_sub(time(*then));
            if is_of_a_death(&seen.happened, time(*then), time(at)) {
                verdict.takeover = verdict.takeover.max(lay);
            }
        }
        holders.insert(name, (epoch, at));
    }
    verdict.demand(holders.len() == LEASES, || {
        "some work was never done".to_owned()
    });
    Ok(())
}

/// Everybody lives again, every lease has a holder, and each node its part of them.
async fn spread(verdict: &mut Verdict, store: &Store) -> Result<(), Failure> {
    let deadline = Instant::now() + TO_SPREAD;
    loop {
        let members = leases::members(&store.view().await?).await?;
        let nodes = members.iter().filter(|it| it.about.address != TALLY);
        let fewest = nodes.clone().map(|it| it.leases.len()).min();
        let held: usize = members.iter().map(|it| it.leases.len()).sum();
        let is_so = nodes.count() == MACHINES
            && members.len() == 2 * MACHINES
            && held == LEASES + NODES_LEASES
            && fewest.is_some_and(|fewest| fewest >= NODES_LEASES / MACHINES);
        if is_so {
            return Ok(());
        }
        if Instant::now() > deadline {
            verdict.demand(false, || format!("the work is not spread: {members:?}"));
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// All that was done, in its order.
async fn done(view: &View) -> Result<Vec<(String, u64, u64)>, Failure> {
    let (mut all, mut from) = (Vec::new(), Position::ZERO);
    loop {
        let page = view
            .scan(&WORK, from..Position::MAX, Direction::Forward, PAGE)
            .await?;
        let Some((last, _)) = page.last() else {
            return Ok(all);
        };
        from = last.next();
        all.extend(page.into_iter().map(|(_, entry)| entry));
    }
}
