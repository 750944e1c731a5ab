//! Owns the scenario of a room in which everybody long-polls: until the last has a message.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    http::Client,
    matrix::{User, contains, next_batch},
    measure::{Meter, Sample},
    server::{Kind, Server},
    world,
};

/// After this long no further message is sent.
const LONGEST: Duration = Duration::from_secs(60);

/// How long Hearth gets until all polls wait.
const MOMENT: Duration = Duration::from_millis(250);

/// How long Synapse gets for each poll beside.
const EACH: Duration = Duration::from_millis(8);

struct Member {
    user: User,
    client: Client,
    since: String,
}

pub(super) async fn fan_out(
    server: &mut Server,
    name: &str,
    members: usize,
) -> Result<Sample, Failure> {
    let members = members.min(server.crowd.fan.len());
    let users = server.crowd.fan[..members].to_vec();
    let sender = server.crowd.talk[48].clone();
    let everybody: Vec<User> = std::iter::once(sender.clone())
        .chain(users.clone())
        .collect();
    let room = world::room(server, name, &everybody).await?;
    let stamp = server.fresh();
    // A token of anybody is good for all: it says up to where the log was seen.
    let now = server.client().now(&sender).await?;
    let listeners = users.into_iter().map(|user| Member {
        user,
        client: server.client(),
        since: now.clone(),
    });
    let mut listeners: Vec<Member> = listeners.collect();
    // Few at a time: hundreds of new connections at once overflow the queue in which Synapse finds them.
    for some in listeners.chunks_mut(20) {
        let greeted = some
            .iter_mut()
            .map(|member| member.client.sync(&member.user, &member.since, 0));
        futures_util::future::try_join_all(greeted).await?;
    }
    let pause = match server.kind {
        Kind::Hearth => MOMENT,
        Kind::Synapse => MOMENT + EACH * u32::try_from(members)?,
    };
    let mut put = server.client();
    let (mut latencies, mut meter) = (Vec::new(), Meter::start(server));
    let begin = Instant::now();
    let messages = if members > 100 {
        server.size(12, 2)
    } else {
        server.size(60, 6)
    };
    for number in 0..=messages {
        if number == 1 {
            // The first is the warm-up.
            (latencies, meter) = (Vec::new(), Meter::start(server));
        }
        if begin.elapsed() > LONGEST {
            break;
        }
        let text = format!("message {stamp}-{number}.");
        let polls: FuturesUnordered<_> = listeners
            .iter_mut()
            .map(|member| listen(member, &text))
            .collect();
        let polls = async {
            let arrivals: Vec<Result<Instant, Failure>> = polls.collect().await;
            arrivals.into_iter().collect::<Result<Vec<_>, _>>()
        };
        let send = async {
            sleep(pause).await;
            let begin = Instant::now();
            put.send(&sender, &room, &text, &text.replace(' ', "-"))
                .await?;
            Ok::<_, Failure>(begin)
        };
        let (arrivals, sent) = futures_util::future::try_join(polls, send).await?;
        let last = arrivals.into_iter().max().ok_or("nobody listens")?;
        latencies.push((last - sent).as_secs_f64() * 1000.0);
    }
    let mut sample = meter.stop(server, name, latencies);
    // The pauses are not the server's.
    sample.rate_per_s = None;
    Ok(sample)
}

/// Polls until `text` is there; when that was.
async fn listen(member: &mut Member, text: &str) -> Result<Instant, Failure> {
    loop {
        let answer = member
            .client
            .sync(&member.user, &member.since, 60_000)
            .await?;
        let arrived = Instant::now();
        member.since = next_batch(&answer)?;
        if contains(&answer, text) {
            return Ok(arrived);
        }
    }
}
