//! Owns the scenario of very many who wait: what they cost, how late the empty answers come, and how soon one of them hears
//! of a message.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, sleep_until},
};

use crate::{
    Failure,
    http::Client,
    matrix::{User, next_batch},
    measure::{Meter, Sample, count, late},
    process,
    server::Server,
};

/// What each of them asks for.
const POLL: Duration = Duration::from_secs(30);

/// How long all of them wait and are looked at: every poll ends once in it.
const HELD: Duration = Duration::from_secs(35);

/// Between two messages to random ones.
const BETWEEN: Duration = Duration::from_millis(200);

/// How long the last messages may take to arrive.
const GRACE: Duration = Duration::from_secs(15);

/// What was seen, by all polls together.
#[derive(Default)]
struct Seen {
    /// Whether all of them are there by now.
    is_held: bool,
    /// By how much empty answers came later than asked for, in milliseconds.
    lateness: Vec<f64>,
    /// When a message to this user was sent, until it arrives.
    sent: HashMap<usize, Instant>,
    /// How long messages took, in milliseconds.
    delivery: Vec<f64>,
    failed: usize,
}

pub(super) async fn idle(server: &mut Server) -> Result<Vec<Sample>, Failure> {
    server.rounds += 1;
    let users = server.crowd.idle.clone();
    let since = server.client().now(&users[0]).await?;
    server.until_it_gave_back().await;
    let before = process::resident_bytes(&server.roots());
    let seen = Rc::new(RefCell::new(Seen::default()));
    let polls = tokio::task::LocalSet::new();
    let measured = polls.run_until(async {
        let mut tasks = JoinSet::new();
        let begin = Instant::now();
        for (number, user) in users.iter().enumerate() {
            sleep_until(begin + Duration::from_secs_f64(count(number) / count(server.sizes.ramp)))
                .await;
            let poll = wait(
                server.client(),
                user.clone(),
                since.clone(),
                number,
                seen.clone(),
            );
            tasks.spawn_local(poll);
        }
        sleep(Duration::from_secs(1)).await;
        seen.borrow_mut().is_held = true;
        let meter = Meter::start(server);
        talk(server, &seen).await?;
        let (seconds, cpu) = meter.so_far(server);
        let after = process::resident_bytes(&server.roots());
        let deadline = Instant::now() + GRACE;
        while !seen.borrow().sent.is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
        tasks.shutdown().await;
        Ok::<_, Failure>((
            cpu * 100.0 / seconds,
            (after - before) / 1000.0 / count(users.len()),
        ))
    });
    let (cpu_percent, kb_each) = measured.await?;
    let mut seen = seen.take();
    // What has not arrived is as late as that.
    let lost = seen.sent.len();
    seen.delivery
        .extend(std::iter::repeat_n(GRACE.as_secs_f64() * 1000.0, lost));
    if seen.failed + lost > 0 {
        return Ok(vec![told(server, seen, cpu_percent, kb_each)]);
    }
    let deliveries = late(server, "idle_deliver", std::mem::take(&mut seen.delivery));
    Ok(vec![told(server, seen, cpu_percent, kb_each), deliveries])
}

fn told(server: &Server, seen: Seen, cpu_percent: f64, kb_each: f64) -> Sample {
    if seen.failed > 0 {
        crate::say(&format!("{} of the polls broke", seen.failed));
    }
    Sample {
        cpu_percent: Some(cpu_percent),
        kb_each: Some(kb_each),
        ..late(server, "idle", seen.lateness)
    }
}

/// Polls for ever.
async fn wait(
    mut client: Client,
    user: User,
    mut since: String,
    number: usize,
    seen: Rc<RefCell<Seen>>,
) {
    let wait = u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX);
    loop {
        let begin = Instant::now();
        let next = match client.sync(&user, &since, wait).await {
            Ok(answer) => next_batch(&answer),
            Err(error) => Err(error),
        };
        let mut seen = seen.borrow_mut();
        let Ok(next) = next else {
            seen.failed += 1;
            return;
        };
        since = next;
        // Nobody else writes to this user.
        if let Some(sent) = seen.sent.remove(&number) {
            seen.delivery.push(sent.elapsed().as_secs_f64() * 1000.0);
        } else if seen.is_held {
            let late = begin.elapsed().saturating_sub(POLL);
            seen.lateness.push(late.as_secs_f64() * 1000.0);
        }
    }
}

/// Sends messages to some who wait, as long as they are held. An overloaded server may not take them: what it refuses has not
/// arrived either.
async fn talk(server: &Server, seen: &Rc<RefCell<Seen>>) -> Result<(), Failure> {
    let rooms = server
        .rooms
        .get("idle")
        .ok_or("no rooms for those who wait")?;
    let mut ticks = interval(BETWEEN);
    let begin = Instant::now();
    let mut sending = JoinSet::new();
    let mut turn = 0;
    while begin.elapsed() < HELD {
        ticks.tick().await;
        turn += 1;
        // Steps through all of them in an order that has no pattern.
        let number = (turn * 7919) % rooms.len();
        let host = server.crowd.host[number % server.crowd.host.len()].clone();
        let (mut client, room) = (server.client(), rooms[number].clone());
        let transaction = format!("idle-{}-{turn}", server.rounds);
        seen.borrow_mut().sent.insert(number, Instant::now());
        sending.spawn(async move {
            client
                .send(&host, &room, "are you there?", &transaction)
                .await
        });
    }
    let rest = async { while sending.join_next().await.is_some() {} };
    tokio::time::timeout(GRACE, rest).await.ok();
    Ok(())
}
