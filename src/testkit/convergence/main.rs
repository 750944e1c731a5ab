//! A simulation of servers that share a room: partitions, delay, duplication, reordering, forged events. In the end, when
//! everything was delivered, all servers have to hold the same state of the room, and each what comes out when it computes the room
//! again from its events.
//!
//!     convergence COUNT           so many seeds, from 1 on
//!     convergence --seed S        one seed, told in detail
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | the servers and what is on its way |
//! | `link.rs` | how one asks another |
//! | `acts.rs` | what users do |
//! | `explain.rs` | where two servers parted |
//! | `forge.rs` | what a hostile server makes up |
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#room-state-resolution>
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for people who test"
)]

mod acts;
mod explain;
mod forge;
mod link;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use ruma::OwnedEventId;

use world::{USERS, World};

/// Why a simulation failed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many rounds of summing up there are: what one server let pass and another did not takes some to be known.
const ROUNDS: usize = 4;

type State = BTreeMap<(String, String), OwnedEventId>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<u64>().ok();
    let (first, last, is_told) = match arguments.as_slice() {
        [flag, seed] if flag == "--seed" => match number(seed) {
            Some(seed) => (seed, seed, true),
            None => return usage(),
        },
        [count] => match number(count) {
            Some(count) => (1, count, false),
            None => return usage(),
        },
        _ => return usage(),
    };
    if is_told {
        let config = hearth_base::config::Log {
            filter: "info,hearth_rooms=debug,convergence=debug,ruma_state_res=warn".to_owned(),
            ..hearth_base::config::Log::default()
        };
        hearth_base::log::start(&config).ok();
    }
    let mut failed = Vec::new();
    for seed in first..=last {
        if let Err(error) = run(seed, is_told) {
            println!("seed {seed}: {error}");
            failed.push(seed);
        }
    }
    let ran = last + 1 - first;
    println!(
        "convergence: {} of {ran} seeds passed",
        ran - failed.len() as u64
    );
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn usage() -> ExitCode {
    println!("usage: convergence COUNT | --seed S");
    ExitCode::from(2)
}

fn run(seed: u64, is_told: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut world = World::new(seed)?;
        let outcome = simulate(&mut world, is_told).await;
        world.close().await?;
        outcome
    });
    runtime.shutdown_background();
    outcome
}

async fn simulate(world: &mut World, is_told: bool) -> Result<(), Failure> {
    world.begin().await?;
    for peer in 0..world.peers.len() {
        for number in 0..USERS {
            world.join(peer, number).await?;
        }
    }
    let hostile = (world.pick(2) == 0).then(|| world.peers.len() - 1);
    if is_told {
        println!(
            "{} servers, version {}, hostile: {hostile:?}",
            world.peers.len(),
            world.version
        );
    }
    let steps = 40 + world.pick(80) as u64;
    for step in 0..steps {
        world.step = step;
        world.clock.advance(std::time::Duration::from_millis(
            1 + world.pick(2000) as u64,
        ));
        match world.pick(15) {
            0 => world.cut(2),
            1 => world.cut(1),
            _ => {}
        }
        for _ in 0..1 + world.pick(3) {
            world.act().await?;
        }
        if let Some(hostile) = hostile
            && world.pick(3) == 0
        {
            world.forge(hostile).await?;
        }
        world.collect().await?;
        world.deliver(false).await?;
        world.complete(false).await?;
    }
    world.cut(1);
    for round in 0..ROUNDS {
        world.step = steps + round as u64;
        world.clock.advance(std::time::Duration::from_secs(1));
        world.complete(true).await?;
        world.sum_up().await?;
        loop {
            world.collect().await?;
            world.deliver(true).await?;
            world.collect().await?;
            if world.is_quiet() {
                break;
            }
        }
    }
    compare(world, hostile, is_told).await?;
    compute_again(world).await
}

/// What every server stored of the room has to be what comes out when it is computed again.
async fn compute_again(world: &World) -> Result<(), Failure> {
    let room_id = world.room()?;
    for (number, peer) in world.peers.iter().enumerate() {
        let view = peer.rooms.view().await?;
        let Some(head) = peer.rooms.head(&view, &room_id).await? else {
            continue;
        };
        // Whose members were not known before all users left, or everybody else did, stays so: nobody can be asked.
        let is_partial = peer.rooms.is_partial(&view, &room_id, &head);
        if is_partial.await? && !is_in(world, number).await? {
            continue;
        }
        let found = peer.rooms.recompute(&room_id).await?;
        if found.count > 0 {
            let differences = found.differences.join("; ");
            return Err(format!("{} differs from itself: {differences}", peer.name).into());
        }
    }
    Ok(())
}

/// Servers that see each other in the room have to hold the same state. One that was put out and could not be told of it, since a
/// partition lasted, goes on alone.
async fn compare(world: &World, hostile: Option<usize>, is_told: bool) -> Result<(), Failure> {
    let honest: Vec<usize> = (0..world.peers.len())
        .filter(|peer| Some(*peer) != hostile)
        .collect();
    let mut states = BTreeMap::new();
    for peer in &honest {
        if world.member_of(*peer).await?.is_some() {
            states.insert(*peer, state_of(world, *peer).await?);
        }
    }
    let mut compared = 0;
    for (one, state) in &states {
        for (two, other) in states.range(one + 1..) {
            if !share(world, *one, *two).await? {
                continue;
            }
            compared += 1;
            if state != other {
                if is_told {
                    explain::explain(world, *one, *two).await?;
                }
                return Err(told(world, (*one, state), (*two, other)).into());
            }
        }
    }
    if is_told {
        println!("the same state in {compared} pairs of servers");
    }
    Ok(())
}

fn told(world: &World, (one, state): (usize, &State), (two, other): (usize, &State)) -> String {
    let names = (&world.peers[one].name, &world.peers[two].name);
    let mut text = format!("{} and {} differ", names.0, names.1);
    let keys: BTreeSet<_> = state.keys().chain(other.keys()).collect();
    for key in keys {
        if state.get(key) != other.get(key) {
            text += &format!("; {key:?}: {:?} and {:?}", state.get(key), other.get(key));
        }
    }
    text
}

/// Whether two servers see each other in the room.
async fn share(world: &World, one: usize, two: usize) -> Result<bool, Failure> {
    Ok(sees(world, one, two).await? && sees(world, two, one).await?)
}

/// Whether a server that has users in the room sees another there.
async fn sees(world: &World, peer: usize, other: usize) -> Result<bool, Failure> {
    if world.member_of(peer).await?.is_none() {
        return Ok(false);
    }
    for number in 0..USERS {
        if world.is_joined(peer, &world.user(other, number)?).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a server and another one see each other in the room.
async fn is_in(world: &World, peer: usize) -> Result<bool, Failure> {
    for other in 0..world.peers.len() {
        if other != peer && share(world, peer, other).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn state_of(world: &World, peer: usize) -> Result<State, Failure> {
    let rooms = &world.peers[peer].rooms;
    let view = rooms.view().await?;
    let head = rooms
        .head(&view, &world.room()?)
        .await?
        .ok_or("there is no room")?;
    let entries = rooms.state_ids(&view, &head, head.state, None).await?;
    Ok(entries
        .into_iter()
        .map(|(event_type, state_key, id)| ((event_type, state_key), id))
        .collect())
}
