//! Owns the measurement of several nodes of one cluster, with very many clients that wait at each: `bench/run.sh scale`. Must never
//! measure more than one number of nodes at a time.
//!
//! | file | what |
//! |---|---|
//! | `scale/cluster.rs` | PostgreSQL, Redis, the nodes, and what each of them uses |
//! | `scale/crowd.rs` | accounts, and a room for each few of them |
//! | `scale/hold.rs` | the process that waits for all clients of one node |
//! | `scale/page.rs` | the table of `docs/scaling.md` |

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use futures_util::future::try_join_all;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{
    Failure,
    http::Client,
    measure::{Sample, count, percentiles, since},
    report, say,
};

mod cluster;
mod crowd;
pub(crate) mod hold;
mod page;

pub(crate) use cluster::Cluster;
use cluster::NODES;
use crowd::Crowd;
use hold::{Held, Holders};

/// How long everybody waits and is looked at.
const HELD: Duration = Duration::from_secs(60);

/// How long the last messages may take to arrive.
const GRACE: Duration = Duration::from_secs(60);

/// How long messages are sent as fast as they are taken.
const SENDING: Duration = Duration::from_secs(20);

/// Messages that are under way at once then, over all nodes.
const FLIGHTS: usize = 64;

/// Measures several nodes of one cluster over PostgreSQL and Redis.
#[derive(Debug, Parser)]
#[command(name = "bench/run.sh scale")]
pub(crate) struct Options {
    /// How many nodes, one measurement after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 10])]
    nodes: Vec<usize>,
    /// How many clients wait at each node.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(16..=15_000))]
    each: u32,
    /// How many of them begin in a second, all nodes together.
    #[arg(long, default_value_t = 1000)]
    ramp: u32,
    /// How many messages are sent in a second while they wait.
    #[arg(long, default_value_t = 20)]
    messages: u32,
    /// For how many seconds everybody waits before anything is measured: until all were told who of the others is there.
    #[arg(long, default_value_t = 150)]
    settle: u64,
    /// Writes no results.
    #[arg(long)]
    dry: bool,
    /// The folder of the built programs.
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// The folder of PostgreSQL's programs, if not that of the distribution.
    #[arg(long)]
    postgres: Option<PathBuf>,
}

/// Measures; `cluster` is the caller's to end, however this ends.
pub(crate) async fn run(options: &Options, cluster: &mut Option<Cluster>) -> Result<(), Failure> {
    let most = options.nodes.iter().copied().max().unwrap_or(1);
    let each = usize::try_from(options.each)?;
    let cluster =
        cluster.insert(Cluster::start(&options.programs, options.postgres.clone()).await?);
    let begin = Instant::now();
    say(&format!("making {} accounts", most * each));
    let mut crowd = Crowd::register(cluster, &options.programs, most * each).await?;
    cluster.add_nodes(most).await?;
    say(&format!("and their rooms, after {:.0?}", begin.elapsed()));
    crowd.make_rooms(cluster).await?;
    cluster.end_nodes().await?;
    say(&format!("all is made after {:.0?}", begin.elapsed()));
    let mut samples = Vec::new();
    for nodes in &options.nodes {
        cluster.add_nodes(*nodes).await?;
        let begin = samples.len();
        samples.extend(wait(options, cluster, &crowd, *nodes).await?);
        samples.extend(send(cluster, &crowd, *nodes).await?);
        cluster.end_nodes().await?;
        if !options.dry {
            report::keep(&samples[begin..])?;
            page::write()?;
        }
    }
    println!("{}", page::table(&samples));
    Ok(())
}

/// Has everybody wait, and says something to some of them.
async fn wait(
    options: &Options,
    cluster: &Cluster,
    crowd: &Crowd,
    nodes: usize,
) -> Result<Vec<Sample>, Failure> {
    let each = usize::try_from(options.each)?;
    let begin = Instant::now();
    cluster.until_it_gave_back().await;
    let before = cluster.usage(None).resident(NODES);
    let ramp = usize::try_from(options.ramp)?.div_ceil(nodes);
    let mut holders = Holders::start(cluster, crowd, each, ramp).await?;
    holders.until_all_wait().await?;
    say(&format!(
        "{} wait at {nodes} nodes after {:.0?}",
        nodes * each,
        begin.elapsed()
    ));
    sleep(Duration::from_secs(options.settle)).await;
    let (begin, start) = (Instant::now(), cluster.usage(Some(&holders)));
    let sent = talk(options, cluster, crowd, nodes * each).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let end = cluster.usage(Some(&holders));
    let expected = sent * crowd::TOGETHER;
    let held = holders.end(expected, GRACE).await?;
    let scenario = format!("scale_wait_{nodes}");
    say(&format!(
        "{scenario}: {sent} messages, {} of {expected} arrivals, {} empty answers, {} polls broke {}",
        held.delivered.len(),
        held.empty,
        held.failed,
        held.why.unwrap_or_default()
    ));
    if held.failed > 0 || held.delivered.len() < expected {
        let so_far = percentiles(held.delivered);
        return Err(format!(
            "{scenario}: polls broke or messages did not arrive, others within {so_far:?} ms"
        )
        .into());
    }
    let used = end.since(&start);
    let mut samples = used.samples(&scenario, |part, used| Sample {
        cpu_percent: Some(used.cpu * 100.0 / seconds),
        kb_each: (part == NODES)
            .then(|| (end.resident(NODES) - before) / 1000.0 / count(nodes * each)),
        ..Sample::default()
    });
    let Held { delivered, .. } = held;
    if let Some(first) = samples.first_mut() {
        first.waiting = Some(nodes * each);
        first.rate_per_s = Some(count(sent) / seconds);
        (first.p50_ms, first.p95_ms, first.p99_ms) = percentiles(delivered);
    }
    samples.iter().for_each(|sample| say(&report::line(sample)));
    Ok(samples)
}

/// Sends to random ones of those who wait, by random nodes, as long as they are held; how many messages were taken.
async fn talk(
    options: &Options,
    cluster: &Cluster,
    crowd: &Crowd,
    waiting: usize,
) -> Result<usize, Failure> {
    let rooms = waiting / crowd::TOGETHER;
    let mut ticks = interval(Duration::from_secs(1) / options.messages.max(1));
    let (begin, mut turn) = (Instant::now(), 0_usize);
    let mut sending = JoinSet::new();
    while begin.elapsed() < HELD {
        ticks.tick().await;
        turn += 1;
        // Steps through all of them in an order that has no pattern.
        let number = (turn * 7919) % rooms;
        let (room, host) = (crowd.rooms[number].clone(), crowd.host(number).clone());
        let mut client = Client::new(cluster.address(turn));
        let transaction = format!("held-{}-{turn}", cluster.nodes());
        sending.spawn(async move {
            let text = hold::stamped();
            client.send(&host, &room, &text, &transaction).await
        });
    }
    let mut sent = 0;
    while let Some(done) = sending.join_next().await {
        match done? {
            Ok(()) => sent += 1,
            Err(error) => say(&format!("a message was not taken: {error}")),
        }
    }
    Ok(sent)
}

/// Sends as fast as the nodes take it, while nobody waits.
async fn send(cluster: &Cluster, crowd: &Crowd, nodes: usize) -> Result<Vec<Sample>, Failure> {
    let flight = |number: usize, stamp: u64, until: Instant| {
        let (room, host) = (crowd.rooms[number].clone(), crowd.host(number).clone());
        let mut client = Client::new(cluster.address(number));
        async move {
            let mut latencies = Vec::new();
            for turn in 0.. {
                let begin = Instant::now();
                if begin > until {
                    break;
                }
                let transaction = format!("sent-{stamp}-{number}-{turn}");
                let text = "Shall we meet at seven in front of the station? I bring the tickets.";
                client.send(&host, &room, text, &transaction).await?;
                latencies.push(since(begin));
            }
            Ok::<_, Failure>(latencies)
        }
    };
    let all = |length: Duration| {
        let (stamp, until) = (hold::now(), Instant::now() + length);
        let numbers = 0..FLIGHTS.min(crowd.rooms.len());
        try_join_all(numbers.map(|number| flight(number, stamp, until)))
    };
    // What is not in memory at first is not what is measured.
    all(Duration::from_secs(2)).await?;
    let (begin, start) = (Instant::now(), cluster.usage(None));
    let latencies = all(SENDING).await?.concat();
    let seconds = begin.elapsed().as_secs_f64();
    let used = cluster.usage(None).since(&start);
    let sent = count(latencies.len());
    let scenario = format!("scale_send_{nodes}");
    let mut samples = used.samples(&scenario, |_, used| Sample {
        cpu_percent: Some(used.cpu * 100.0 / seconds),
        cpu_s_per_1000: Some(used.cpu * 1000.0 / sent),
        ..Sample::default()
    });
    if let Some(first) = samples.first_mut() {
        first.rate_per_s = Some(sent / seconds);
        (first.p50_ms, first.p95_ms, first.p99_ms) = percentiles(latencies);
    }
    samples.iter().for_each(|sample| say(&report::line(sample)));
    Ok(samples)
}
