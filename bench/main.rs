//! Hearth and Synapse side by side: `bench/run.sh` builds this and starts it. `--help` tells the options.
//!
//! | file | what |
//! |---|---|
//! | `server.rs`, `hearth.rs`, `synapse.rs` | starting, ending and filling a server |
//! | `world.rs` | rooms that several scenarios need |
//! | `scenarios.rs` and its folder | what is measured |
//! | `scale.rs` and its folder | several nodes of one cluster, with very many who wait at each |
//! | `federation.rs` and its folder | what other servers bring and get |
//! | `http.rs`, `matrix.rs`, `flights.rs` | the load |
//! | `options.rs` | the options of both comparisons; `perf` |
//! | `process.rs`, `measure.rs` | CPU seconds, memory, latencies |
//! | `report.rs`, `chart.rs` | the table, `results.json`, `results.svg`, `docs/performance.md` |
//! | `seed.rs` | accounts for Hearth, before it starts |
//! | `micro.rs` | the hot path alone |
//!
//! Everything runs on loopback and on one thread, so that the load takes as little from the servers as it can.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program whose output is read by people, and that may block while nothing is measured"
)]

use std::{collections::BTreeMap, error::Error, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    measure::{Sample, late, median},
    options::Common,
    scenarios::{ALL, Scenario},
    server::{Kind, Server},
    sizes::Sizes,
};

mod chart;
mod federation;
mod flights;
mod hearth;
mod http;
mod matrix;
mod measure;
mod options;
mod process;
mod report;
mod scale;
mod scenarios;
mod server;
mod sizes;
mod synapse;
mod world;

/// Why a run ends early.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Measures Hearth and Synapse side by side.
#[derive(Debug, Parser)]
struct Options {
    /// Which scenarios; all if none is named.
    scenarios: Vec<String>,
    /// How often each is run, both servers in turn; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(chosen_program()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What the first argument says; the comparison of both servers if it is none of these.
async fn chosen_program() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some(scale::hold::ARGUMENT) => scale::hold::hold().await,
        Some("scale") => guarded_scale(&scale::Options::parse_from(std::env::args().skip(1))).await,
        Some("federation") => {
            guarded_federation(&federation::Options::parse_from(std::env::args().skip(1))).await
        }
        _ => guarded(&Options::parse()).await,
    }
}

/// Tells the person at the terminal.
pub(crate) fn say(what: &str) {
    eprintln!("{what}");
}

/// Does `work` until it is done or a signal comes.
async fn until_a_signal(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        ended = work => ended,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

/// Runs; the servers are ended in any case.
async fn guarded(options: &Options) -> Result<(), Failure> {
    let mut servers = Vec::new();
    let ended = until_a_signal(bench(options, &mut servers)).await;
    for server in &mut servers {
        server.end(usize::MAX).await?;
    }
    ended
}

/// The same for other servers.
async fn guarded_federation(options: &federation::Options) -> Result<(), Failure> {
    let mut servers = Vec::new();
    let ended = until_a_signal(federation::run(options, &mut servers)).await;
    for server in &mut servers {
        server.end(usize::MAX).await?;
    }
    ended
}

/// The same for several nodes.
async fn guarded_scale(options: &scale::Options) -> Result<(), Failure> {
    let mut cluster = None;
    let ended = until_a_signal(scale::run(options, &mut cluster)).await;
    if let Some(cluster) = &mut cluster {
        cluster.end().await?;
    }
    ended
}

async fn bench(options: &Options, servers: &mut Vec<Server>) -> Result<(), Failure> {
    let chosen = chosen(&options.scenarios)?;
    let sizes = if options.common.quick {
        Sizes::QUICK
    } else {
        Sizes::FULL
    };
    let mut programs = options.common.synapse();
    let big = chosen.iter().any(|scenario| scenario.needs_big);
    let idle = chosen.iter().any(|scenario| scenario.needs_idle);
    for kind in options.common.kinds() {
        say(&format!(
            "{}: starting, making accounts and rooms",
            kind.name()
        ));
        let server = match kind {
            Kind::Hearth => hearth::start(&options.common.programs, sizes, "").await?,
            Kind::Synapse => synapse::start(&mut programs, sizes, "").await?,
        };
        servers.push(server);
        if let Some(server) = servers.last_mut() {
            world::fill(server, &programs, big, idle).await?;
            server.until_it_rests().await;
        }
    }
    let first = servers.first().ok_or("no server to measure")?;
    let observer = options.common.observe(first)?;
    let results = measure(&chosen, options.rounds, servers).await?;
    observer.end().await?;
    println!("{}", report::table(&results));
    if options.common.keeps_results() {
        report::write(&results)?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>, Failure> {
    let all = || ALL.iter().map(|s| s.name).collect::<Vec<_>>().join(" ");
    for name in names {
        if !ALL.iter().any(|scenario| scenario.name == name) {
            return Err(format!("no scenario is called {name}; there are: {}", all()).into());
        }
    }
    let chosen = ALL.into_iter();
    Ok(chosen
        .filter(|s| names.is_empty() || names.iter().any(|name| name == s.name))
        .collect())
}

/// The medians of all scenarios, in their order.
async fn measure(
    chosen: &[Scenario],
    rounds: u32,
    servers: &mut [Server],
) -> Result<Vec<Sample>, Failure> {
    let mut results = Vec::new();
    for scenario in chosen {
        let mut samples: BTreeMap<(String, String), Vec<Sample>> = BTreeMap::new();
        for round in 0..rounds {
            for server in servers.iter_mut() {
                let round = usize::try_from(round)?;
                // What the scenario before has left to be done is not this one's.
                server.until_it_rests().await;
                let ran = match scenarios::run(*scenario, server, round).await {
                    Ok(ran) => ran,
                    Err(error) => {
                        say(&format!("{} {}: {error}", scenario.name, server.name()));
                        continue;
                    }
                };
                for sample in ran {
                    say(&report::line(&sample));
                    let key = (sample.scenario.clone(), sample.server.clone());
                    samples.entry(key).or_default().push(sample);
                }
            }
        }
        results.extend(samples.values().filter_map(|rounds| median(rounds)));
    }
    // Of all scenarios but the one that Synapse does not get through.
    let are_all = chosen.len() + 1 >= ALL.len();
    for server in servers.iter_mut().filter(|_| are_all) {
        server.until_it_gave_back().await;
        results.push(late(server, "after_all", Vec::new()));
    }
    Ok(results)
}
