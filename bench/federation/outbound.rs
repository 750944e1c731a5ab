//! Owns the scenarios of messages that go to very many servers, of which some are dead.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use super::{Scene, figures, hosts::Mood, join, peer::Arrivals, room::Room, watch::Watch};
use crate::{
    Failure,
    matrix::User,
    measure::{Meter, Sample, count, percentiles},
    say,
    server::Server,
};

/// How long nothing may arrive before one waits no longer.
const SILENCE: Duration = Duration::from_secs(100);

/// How long one waits in all.
const LONGEST: Duration = Duration::from_secs(400);

/// How many messages, and how many of them in a second.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) messages: usize,
    pub(super) rate: u32,
}

/// First while all servers live, then with a third of them dead: half of those refuse connections, the others take them and never
/// answer.
pub(super) async fn outbound(
    scene: &Scene,
    server: &Server,
    pace: Pace,
) -> Result<Vec<Sample>, Failure> {
    let user = server.crowd.talk[0].clone();
    let hosts = &scene.hosts[..scene.sizes.destinations];
    let room = Room::make("everywhere", hosts, hosts.len(), hosts.len() + 10)?;
    scene
        .peer
        .known()
        .rooms
        .insert(room.id.to_string(), room.clone());
    join::enter(&scene.hosts[0], server, &user, &room).await?;
    join::until_complete(server, &user, &room, hosts.len() + 1).await?;
    server.until_it_rests().await;
    say(&format!("the others were asked: {}", scene.peer.asked()));
    let mut samples = vec![talk(scene, server, (&user, &room), pace, 0).await?];
    for host in hosts.iter().skip(1) {
        match host.number % 6 {
            1 => host.becomes(Mood::Refusing),
            4 => host.becomes(Mood::Silent),
            _ => {}
        }
    }
    sleep(Duration::from_millis(500)).await;
    server.until_it_rests().await;
    let with_dead = talk(scene, server, (&user, &room), pace, 1).await;
    hosts.iter().for_each(|host| host.becomes(Mood::Living));
    samples.push(with_dead?);
    say(&format!("the others were asked: {}", scene.peer.asked()));
    Ok(samples)
}

/// Sends, and waits until all living servers have everything.
async fn talk(
    scene: &Scene,
    server: &Server,
    (user, room): (&User, &Room),
    Pace { messages, rate }: Pace,
    turn: usize,
) -> Result<Sample, Failure> {
    let hosts = &scene.hosts[..scene.sizes.destinations];
    let living: Vec<usize> = hosts
        .iter()
        .filter(|host| host.mood() == Mood::Living)
        .map(|host| host.number)
        .collect();
    let first = 1 + turn * messages;
    scene.peer.known().arrivals = Arrivals::expect(hosts.len(), first, messages);
    let (watch, meter) = (Watch::start(server), Meter::start(server));
    let mut ticks = interval(Duration::from_secs(1) / rate);
    let (mut sending, mut begins) = (JoinSet::new(), Vec::new());
    for number in first..first + messages {
        ticks.tick().await;
        let (mut client, user, room) = (server.client(), user.clone(), room.id.to_string());
        begins.push(Instant::now());
        sending.spawn(async move {
            let text = number.to_string();
            client
                .send(&user, &room, &text, &format!("many-{text}"))
                .await
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    let expected = messages * living.len();
    let (begin, mut last) = (Instant::now(), (0, Instant::now()));
    loop {
        let came = scene.peer.known().arrivals.came;
        if came > last.0 {
            last = (came, Instant::now());
        }
        if came >= expected || last.1.elapsed() > SILENCE || begin.elapsed() > LONGEST {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let (_, cpu) = meter.so_far(server);
    let (peak, growth) = watch.end()?;
    let arrivals = std::mem::take(&mut scene.peer.known().arrivals);
    let (mut latencies, mut end) = (Vec::with_capacity(expected), begins[0]);
    for host in living {
        for (at, begin) in arrivals.of(host).iter().zip(&begins) {
            if let Some(at) = at {
                latencies.push((*at - *begin).as_secs_f64() * 1000.0);
                end = end.max(*at);
            }
        }
    }
    let came = latencies.len();
    let most = latencies.iter().copied().fold(0.0, f64::max);
    let scenario = match turn {
        0 => "federation_outbound",
        _ => "federation_outbound_dead",
    };
    let mut sample = figures(
        server,
        scenario,
        &[
            ("all_s", (end - begins[0]).as_secs_f64()),
            ("most_ms", most),
            ("missing", count(expected - came)),
            ("messages", count(messages)),
            ("growth_mb", growth / 1e6),
            ("sockets", count(peak.sockets)),
            ("files", count(peak.files)),
        ],
    );
    sample.cpu_s_per_1000 = Some(cpu * 1000.0 / count(came));
    (sample.p50_ms, sample.p95_ms, sample.p99_ms) = percentiles(latencies);
    Ok(sample)
}
