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

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{
    measure::{Sample, late, median},
    scenarios::{ALL, Scenario},
    server::{Kind, Server},
    sizes::Sizes,
    synapse::Programs,
};

mod chart;
mod federation;
mod flights;
mod hearth;
mod http;
mod matrix;
mod measure;
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
    /// Small: to see whether everything works. Writes no results.
    #[arg(long)]
    quick: bool,
    /// Only this server: hearth or synapse.
    #[arg(long, value_parser = ["hearth", "synapse"])]
    only: Option<String>,
    /// Writes no results.
    #[arg(long)]
    dry: bool,
    /// Writes what `perf` sees of Hearth while it is measured to this file.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// The folder of the built programs.
    #[arg(long)]
    programs: PathBuf,
    /// Python that has the package matrix-synapse.
    #[arg(long)]
    python: PathBuf,
    /// The folder of PostgreSQL's programs, if not that of the distribution.
    #[arg(long)]
    postgres: Option<PathBuf>,
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
    let sizes = if options.quick {
        Sizes::QUICK
    } else {
        Sizes::FULL
    };
    let postgres = options.postgres.clone().or_else(synapse::find_postgres);
    let mut programs = Programs {
        python: options.python.clone(),
        postgres: postgres.unwrap_or_default(),
        port: 0,
    };
    let big = chosen.iter().any(|scenario| scenario.needs_big);
    let idle = chosen.iter().any(|scenario| scenario.needs_idle);
    for kind in [Kind::Hearth, Kind::Synapse] {
        if options
            .only
            .as_ref()
            .is_some_and(|only| only != kind.name())
        {
            continue;
        }
        say(&format!(
            "{}: starting, making accounts and rooms",
            kind.name()
        ));
        let server = match kind {
            Kind::Hearth => hearth::start(&options.programs, sizes, "").await?,
            Kind::Synapse => synapse::start(&mut programs, sizes, "").await?,
        };
        servers.push(server);
        if let Some(server) = servers.last_mut() {
            world::fill(server, &programs, big, idle).await?;
            server.until_it_rests().await;
        }
    }
    let observer = match &options.profile {
        Some(file) => Some(observe(
            servers.first().ok_or("no server to look at")?,
            file,
        )?),
        None => None,
    };
    let results = measure(&chosen, options.rounds, servers).await?;
    if let Some(mut observer) = observer {
        let id = observer.id().map(|id| id.to_string()).unwrap_or_default();
        server::run(Command::new("kill").args(["-INT", &id])).await?;
        observer.wait().await?;
    }
    println!("{}", report::table(&results));
    if !options.quick && !options.dry {
        report::write(&results)?;
    }
    Ok(())
}

/// Starts `perf` on a server.
fn observe(server: &Server, file: &Path) -> Result<Child, Failure> {
    let id = server.roots().first().copied();
    let id = id.ok_or("no process to look at")?.to_string();
    let mut perf = Command::new("perf");
    perf.args([
        "record",
        "-q",
        "-F",
        "997",
        "--call-graph",
        "dwarf,16384",
        "-p",
        &id,
        "-o",
    ])
    .arg(file);
    Ok(perf.kill_on_drop(true).spawn()?)
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
