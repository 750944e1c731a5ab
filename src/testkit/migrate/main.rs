//! A store that moves: a server over RocksDB is filled and asked, `hearth migrate` brings its store to PostgreSQL and from there
//! to a new RocksDB, killed in the middle and begun again each time, and a server over each of them has to answer the same.
//! In the end something is changed, and the comparison has to notice.
//!
//!     migrate [EVENTS]        20,000 if it does not say how many
//!
//! Needs PostgreSQL on this machine, and the program `hearth` beside this one, or where `HEARTH_BINARY` says. Must never leave a
//! process behind, nor compare an answer with itself.
//!
//! | file | what |
//! |---|---|
//! | `place.rs` | the server over each store, and the copying |
//! | `caller.rs` | requests |
//! | `world.rs` | accounts, rooms and what is said in them |
//! | `talk.rs` | one event after the other |
//! | `settings.rs` | what is not of a room: devices, keys, account data |
//! | `fork.rs` | a room whose servers disagreed for a while |
//! | `questions.rs` | what is asked of each server |
//! | `compare.rs` | which answers differ |
#![allow(clippy::print_stdout, reason = "a program for people who test")]

use std::process::ExitCode;

use hearth_testkit::Template;
use serde_json::json;
use tokio::time::Instant;

use self::{
    compare::Compared,
    place::{Kind, Site},
    questions::Asked,
    world::World,
};

mod caller;
mod compare;
mod fork;
mod place;
mod questions;
mod settings;
mod talk;
mod world;

/// Why it ends early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many events there are if nobody says.
const EVENTS: usize = 20_000;

/// What PostgreSQL is told; everything else is as it comes.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
log_min_messages = warning
";

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let events = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => EVENTS,
    };
    let template = Template::make(SETTINGS)?;
    let site = Site::make(&template).await?;
    match run(&site, events).await {
        Ok(true) => return Ok(ExitCode::SUCCESS),
        Ok(false) => {}
        Err(error) => println!("failed: {error}"),
    }
    println!("what is left of it: {}", site.keep().display());
    Ok(ExitCode::FAILURE)
}

/// Everything, one after the other; whether all answers were the same.
async fn run(site: &Site, events: usize) -> Result<bool, Failure> {
    let begin = Instant::now();
    let people = world::register(site, events).await?;
    let server = site.serve(Kind::First).await?;
    let mut world = World::fill(&server.caller, people, events).await?;
    fork::disagree(site, &server, &mut world).await?;
    server.stop().await?;
    println!(
        "filled: {} accounts, {} rooms, {} events sent, in {:.0?}; RocksDB {}",
        world.people.len(),
        world.rooms.len(),
        world.sent,
        begin.elapsed(),
        site.size(Kind::First).await?
    );
    // A server that remembers nothing but what is in its store, as the others are.
    let server = site.serve(Kind::First).await?;
    let begin = Instant::now();
    let asked = questions::ask(&server.caller, site, &world).await?;
    server.stop().await?;
    told(Kind::First, &asked, begin);
    let mut same = true;
    for (from, to) in [(Kind::First, Kind::Shared), (Kind::Shared, Kind::Last)] {
        site.migrate(from, to).await?;
        let server = site.serve(to).await?;
        let begin = Instant::now();
        let compared = compare::again(&server.caller, &asked).await?;
        server.stop().await?;
        println!("{to}: {compared}, asked in {:.0?}", begin.elapsed());
        same &= compared.is_same();
    }
    let noticed = changed(site, &world, &asked).await?;
    println!(
        "one message more: {} of {} answers differ",
        noticed.different, noticed.all
    );
    if noticed.is_same() {
        return Err("a change of the store was not noticed: this compares nothing".into());
    }
    println!("{}", if same { "passed" } else { "answers differ" });
    Ok(same)
}

fn told(kind: Kind, asked: &[Asked], begin: Instant) {
    let bytes: usize = asked.iter().map(|one| one.body.len()).sum();
    let good = asked.iter().filter(|one| one.status == 200).count();
    println!(
        "{kind}: {} answers, {good} of them with success, {} kB, asked in {:.0?}",
        asked.len(),
        bytes / 1000,
        begin.elapsed()
    );
}

/// Changes the last store, and compares again.
async fn changed(site: &Site, world: &World, asked: &[Asked]) -> Result<Compared, Failure> {
    let server = site.serve(Kind::Last).await?;
    let room = &world.rooms[0].id;
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/one-more");
    let body = json!({ "msgtype": "m.text", "body": "one more" });
    let caller = &server.caller;
    caller.put(&path, world.people[0].token(), &body).await?;
    let compared = compare::again(caller, asked).await?;
    server.stop().await?;
    Ok(compared)
}
