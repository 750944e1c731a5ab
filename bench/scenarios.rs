//! Owns the list of scenarios: what each is called, what it needs, and who carries it out.

use crate::{Failure, measure::Sample, server::Server};

mod deliver;
mod fan_out;
mod idle;
mod reading;
mod writing;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What one operation is, for the reader of the table.
    pub(crate) about: &'static str,
    /// Whether many rooms with many members have to be there.
    pub(crate) needs_big: bool,
    /// Whether a room for each who waits has to be there.
    pub(crate) needs_idle: bool,
}

/// All of them, in the order in which they run.
pub(crate) const ALL: [Scenario; 15] = [
    scenario("register", "an account made and logged in, 4 in flight"),
    scenario(
        "create_join",
        "a public room made by one user and joined by another, 4 in flight",
    ),
    scenario("send_1", "a message, 1 in flight"),
    scenario("send_16", "a message, 16 in flight by 16 users in 4 rooms"),
    scenario(
        "deliver_10",
        "from PUT to arrival in the long poll of another user, 10 a second asked for",
    ),
    scenario("deliver_100", "the same, 100 a second asked for"),
    scenario("deliver_1000", "the same, 1,000 a second asked for"),
    scenario(
        "fan_out_50",
        "a message until the last of 50 who long-poll has it, their next polls included",
    ),
    scenario("fan_out_1000", "the same with 1,000 who long-poll"),
    big(
        "initial_sync",
        "first sync (lazy members, 10 events a room) in 300 rooms of 300 members",
    ),
    big(
        "empty_sync",
        "sync from now by a user in these 300 rooms, no wait, 4 in flight",
    ),
    scenario("pages", "a page of 100 messages, 1 in flight"),
    scenario("profile", "a profile, 4 in flight"),
    scenario("directory", "an alias resolved, 4 in flight"),
    Scenario {
        needs_idle: true,
        ..scenario(
            "idle",
            "10,000 long polls of 30 s, each by a user in a room of two, begun 400 a second",
        )
    },
];

const fn scenario(name: &'static str, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        needs_big: false,
        needs_idle: false,
    }
}

const fn big(name: &'static str, about: &'static str) -> Scenario {
    Scenario {
        needs_big: true,
        ..scenario(name, about)
    }
}

/// Carries out one round; most scenarios give one sample.
pub(crate) async fn run(
    scenario: Scenario,
    server: &mut Server,
    round: usize,
) -> Result<Vec<Sample>, Failure> {
    let name = scenario.name;
    let sample = match name {
        "register" => writing::register(server, name).await?,
        "create_join" => writing::create_join(server, name).await?,
        "send_1" => writing::send_1(server, name).await?,
        "send_16" => writing::send_16(server, name).await?,
        "deliver_10" => deliver::deliver(server, name, 10).await?,
        "deliver_100" => deliver::deliver(server, name, 100).await?,
        "deliver_1000" => deliver::deliver(server, name, 1000).await?,
        "fan_out_50" => fan_out::fan_out(server, name, 50).await?,
        "fan_out_1000" => fan_out::fan_out(server, name, 1000).await?,
        "initial_sync" => reading::initial_sync(server, name, round).await?,
        "empty_sync" => reading::empty_sync(server, name).await?,
        "pages" => reading::pages(server, name).await?,
        "profile" => reading::profile(server, name).await?,
        "directory" => reading::directory(server, name).await?,
        _ => return idle::idle(server).await,
    };
    Ok(vec![sample])
}
