//! Owns finding out where two servers that differ parted: the first events on which they disagree. Must never change anything.

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedEventId;

use crate::{
    Failure,
    world::{USERS, World},
};

/// How many events are told.
const MOST: usize = 5;

/// What a server makes of an event, in words.
async fn opinion(world: &World, peer: usize, id: &OwnedEventId) -> Result<Opinion, Failure> {
    let rooms = &world.peers[peer].rooms;
    let view = rooms.view().await?;
    let head = rooms.head(&view, &world.room()?).await?.ok_or("no room")?;
    let Some(event) = rooms.event(&view, id).await? else {
        return Ok(Opinion::default());
    };
    let verdict = match (
        event.is_outlier(),
        event.pdu.is_rejected(),
        event.soft_failed,
    ) {
        (true, ..) => "an outlier",
        (_, true, _) => "rejected",
        (_, _, true) => "soft-failed",
        _ => "accepted",
    };
    let mut states = [BTreeMap::new(), BTreeMap::new()];
    if !event.is_outlier() {
        for (state, root) in states
            .iter_mut()
            .zip([event.state_before, event.state_after])
        {
            let entries = rooms.state_ids(&view, &head, root, None).await?;
            *state = entries.into_iter().map(|(t, k, id)| ((t, k), id)).collect();
        }
    }
    let [before, after] = states;
    Ok(Opinion {
        about: Some(format!(
            "{} {:?} by {} at depth {}, after {:?}, naming {:?}: {}",
            event.pdu.event_type(),
            event.pdu.state_key(),
            event.pdu.sender(),
            event.pdu.depth().0,
            event.pdu.prev_events(),
            event.pdu.auth_events(),
            event.pdu.content(),
        )),
        depth: event.pdu.depth().0,
        previous: event.pdu.prev_events().to_vec(),
        position: format!("{:?}", event.position),
        verdict,
        before,
        after,
    })
}

#[derive(Default)]
struct Opinion {
    about: Option<String>,
    depth: u64,
    previous: Vec<OwnedEventId>,
    position: String,
    verdict: &'static str,
    before: BTreeMap<(String, String), OwnedEventId>,
    after: BTreeMap<(String, String), OwnedEventId>,
}

fn differences(
    one: &BTreeMap<(String, String), OwnedEventId>,
    two: &BTreeMap<(String, String), OwnedEventId>,
) -> String {
    let keys: BTreeSet<_> = one.keys().chain(two.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| one.get(*key) != two.get(*key));
    let told = differ.map(|key| format!("{key:?}: {:?} and {:?}", one.get(key), two.get(key)));
    told.collect::<Vec<_>>().join(", ")
}

/// Prints the events on which two servers disagree, the earliest first.
pub(crate) async fn explain(world: &World, one: usize, two: usize) -> Result<(), Failure> {
    let mut open = Vec::new();
    let mut entries = BTreeSet::new();
    for (number, peer) in world.peers.iter().enumerate() {
        let mut joined = Vec::new();
        for other in 0..world.peers.len() {
            for user in 0..USERS {
                let user = world.user(other, user)?;
                if world.is_joined(number, &user).await? {
                    joined.push(user.to_string());
                }
            }
        }
        println!(
            "as {} sees it, these are in: {}",
            peer.name,
            joined.join(" ")
        );
    }
    for peer in [one, two] {
        let rooms = &world.peers[peer].rooms;
        let view = rooms.view().await?;
        let head = rooms.head(&view, &world.room()?).await?.ok_or("no room")?;
        println!(
            "heads of {}: {:?}",
            world.peers[peer].name, head.extremities
        );
        open.extend(head.extremities.iter().cloned());
        for entry in rooms.state_ids(&view, &head, head.state, None).await? {
            if !entries.insert(entry.clone()) {
                entries.remove(&entry);
            }
        }
    }
    for (_, _, id) in entries {
        for peer in [one, two] {
            let opinion = opinion(world, peer, &id).await?;
            println!(
                "in one state only: {id} ({:?} for {})",
                opinion.verdict, world.peers[peer].name
            );
            if let Some(about) = opinion.about {
                println!("  {about}");
            }
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let (a, b) = (
            opinion(world, one, &id).await?,
            opinion(world, two, &id).await?,
        );
        open.extend(a.previous.iter().chain(&b.previous).cloned());
        if a.verdict != b.verdict || a.before != b.before || a.after != b.after {
            found.push((a.depth.max(b.depth), id, a, b));
        }
    }
    found.sort_by_key(|(depth, ..)| *depth);
    println!("{} events are judged otherwise", found.len());
    for (_, id, a, b) in found.into_iter().take(MOST) {
        let about = a.about.as_ref().or(b.about.as_ref());
        println!("{id}: {}", about.map_or("unknown", String::as_str));
        println!(
            "  {:?} at {} and {:?} at {}",
            a.verdict, a.position, b.verdict, b.position
        );
        println!("  before: {}", differences(&a.before, &b.before));
        println!("  after: {}", differences(&a.after, &b.after));
    }
    Ok(())
}
