//! Owns the scenario of two people who talk: from PUT to arrival in the long poll of the other.

use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use tokio::time::{Instant, sleep_until};

use crate::{
    Failure,
    http::Client,
    matrix::{User, contains, next_batch},
    measure::{Meter, Sample, count, since},
    server::{Kind, Server},
    world,
};

/// How long a pair waits for its turn: each sends so often.
const EACH: Duration = Duration::from_millis(200);

/// How long messages are sent at least.
const LONG: Duration = Duration::from_secs(8);

/// How many messages are sent at least: the system counts CPU time in hundredths of a second.
const MANY: usize = 300;

/// How many users other scenarios use, which makes some of them members of a thousand rooms.
const OTHERS: usize = 50;

/// How long a long poll may take.
const POLL: u32 = 30_000;

struct Pair {
    sender: User,
    receiver: User,
    room: String,
    put: Client,
    poll: Client,
    since: String,
    stamp: u64,
}

/// Has `rate` messages a second sent in total, each pair at most one at a time: an overloaded server gets fewer.
pub(super) async fn deliver(
    server: &mut Server,
    name: &str,
    rate: usize,
) -> Result<Sample, Failure> {
    let mut pairs = rate / 5;
    if server.kind == Kind::Synapse {
        // It is overloaded with far fewer, and each takes it a while to make.
        pairs = pairs.min(20);
    }
    let mut prepared = Vec::new();
    for number in 0..pairs {
        prepared.push(prepare(server, number).await?);
    }
    for pair in &mut prepared {
        converse(pair, "warm up", Instant::now()).await?;
    }
    let long = LONG.max(Duration::from_secs_f64(count(MANY) / count(rate)));
    let meter = Meter::start(server);
    let begin = Instant::now();
    let begins = (0..pairs).map(|n| begin + EACH.mul_f64(count(n) / count(pairs)));
    let talks = prepared
        .iter_mut()
        .zip(begins)
        .map(|(pair, mut next)| async move {
            let mut latencies = Vec::new();
            let mut number = 0;
            while next < begin + long {
                latencies.push(converse(pair, &number.to_string(), next).await?);
                number += 1;
                next = (next + EACH).max(Instant::now());
            }
            Ok::<_, Failure>(latencies)
        });
    let latencies = try_join_all(talks).await?.concat();
    Ok(meter.stop(server, name, latencies))
}

async fn prepare(server: &mut Server, number: usize) -> Result<Pair, Failure> {
    let first = OTHERS + 2 * number;
    let users = server.crowd.talk[first..first + 2].to_vec();
    let room = world::room(server, &format!("pair {number}"), &users).await?;
    let mut poll = server.client();
    Ok(Pair {
        since: poll.now(&users[1]).await?,
        sender: users[0].clone(),
        receiver: users[1].clone(),
        room,
        put: server.client(),
        poll,
        stamp: server.fresh(),
    })
}

/// One message at `when`; how long it took, in milliseconds. The poll of the receiver is there before.
async fn converse(pair: &mut Pair, text: &str, when: Instant) -> Result<f64, Failure> {
    let text = format!("message {}-{text}.", pair.stamp);
    let put = async {
        sleep_until(when).await;
        let begin = Instant::now();
        pair.put
            .send(&pair.sender, &pair.room, &text, &text.replace(' ', "-"))
            .await?;
        Ok::<_, Failure>(begin)
    };
    let poll = async {
        loop {
            let answer = pair.poll.sync(&pair.receiver, &pair.since, POLL).await?;
            let arrived = Instant::now();
            pair.since = next_batch(&answer)?;
            if contains(&answer, &text) {
                return Ok::<_, Failure>(arrived);
            }
        }
    };
    let (begin, arrived) = try_join(put, poll).await?;
    Ok(since(begin) - since(arrived))
}
