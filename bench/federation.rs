//! Owns the measurement of what other servers bring and get: `bench/run.sh federation [join] [inbound] [outbound]`. Must never let one
//! scenario find what another left: each has a server of its own that was just started.
//!
//! | file | what |
//! |---|---|
//! | `federation/hosts.rs`, `federation/peer.rs`, `federation/room.rs` | made-up servers, what they answer, the rooms that they are in |
//! | `federation/call.rs` | what they send |
//! | `federation/join.rs`, `federation/inbound.rs`, `federation/outbound.rs` | the scenarios |
//! | `federation/watch.rs` | the most that a server uses meanwhile |
//! | `federation/page.rs` | the tables of `docs/performance.md` |
//!
//! The made-up servers are part of the load, in this process. They speak TLS, with certificates of an authority that is made for the
//! run. Requests to the server under measurement go to the port of its clients, as from a reverse proxy.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::Parser;
use tempfile::TempDir;

use crate::{
    Failure, hearth,
    measure::{Sample, late, median},
    options::{Common, Observer},
    report, say,
    server::{Kind, Server, text},
    sizes, synapse,
};

mod call;
mod hosts;
mod inbound;
mod join;
mod outbound;
mod page;
mod peer;
mod room;
mod watch;

use hosts::Host;
use outbound::Pace;
use peer::Peer;
use room::Room;

/// The scenarios, in the order in which they run.
const SCENARIOS: [&str; 3] = ["join", "inbound", "outbound"];

/// Measures what other servers bring and get.
#[derive(Debug, Parser)]
#[command(name = "bench/run.sh federation")]
pub(crate) struct Options {
    /// Which scenarios; all if none is named.
    #[arg(value_parser = SCENARIOS)]
    scenarios: Vec<String>,
    /// How often each is run, both servers in turn; the medians count.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    #[command(flatten)]
    common: Common,
}

/// How large the scenarios are.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Members of the room that is joined.
    members: usize,
    /// State events in it, members included.
    events: usize,
    /// Servers in it.
    servers: usize,
    /// Servers to which messages go.
    destinations: usize,
}

impl Sizes {
    const FULL: Self = Self {
        members: 10_000,
        events: 20_000,
        servers: 100,
        destinations: 1000,
    };
    const QUICK: Self = Self {
        members: 200,
        events: 400,
        servers: 10,
        destinations: 30,
    };
}

/// What all servers under measurement meet.
struct Scene {
    sizes: Sizes,
    peer: Peer,
    hosts: Vec<Arc<Host>>,
    /// What is joined.
    large: Option<Room>,
    /// The file of the authority that vouches for the made-up servers.
    authority: PathBuf,
    _folder: TempDir,
}

impl Scene {
    async fn make(options: &Options) -> Result<Self, Failure> {
        let sizes = if options.common.quick {
            Sizes::QUICK
        } else {
            Sizes::FULL
        };
        let folder = TempDir::with_prefix("federation-bench-")?;
        let authority = folder.path().join("authority.pem");
        let peer = Peer::default();
        let count = sizes.destinations.max(sizes.servers);
        let hosts = hosts::start(count, &peer.router(), &authority).await?;
        let large = match options.wants("join") {
            true => {
                say("making a room");
                let hosts = &hosts[..sizes.servers];
                Some(Room::make("large", hosts, sizes.members, sizes.events)?)
            }
            false => None,
        };
        Ok(Self {
            sizes,
            peer,
            hosts,
            large,
            authority,
            _folder: folder,
        })
    }

    async fn start(&self, options: &Options, kind: Kind) -> Result<Server, Failure> {
        let authority = text(&self.authority);
        let sizes = sizes::Sizes {
            is_quick: options.common.quick,
            ..sizes::Sizes::TWO
        };
        match kind {
            Kind::Hearth => {
                let federation = format!(
                    "[federation]\nprivate_addresses = true\nextra_ca_file = \"{authority}\"\n"
                );
                hearth::start(&options.common.programs, sizes, &federation).await
            }
            Kind::Synapse => {
                let mut programs = options.common.synapse();
                let roomy = "{per_second: 100000, burst_count: 100000}";
                let federation = format!(
                    "federation_custom_ca_list: [{authority}]\nip_range_blacklist: []\nrc_key_requests: {roomy}\n\
                     rc_federation: {{window_size: 1000, sleep_limit: 100000, sleep_delay: 1, reject_limit: 100000, concurrent: 100}}\n"
                );
                synapse::start(&mut programs, sizes, &federation).await
            }
        }
    }

    async fn run(&self, scenario: &str, server: &Server) -> Result<Vec<Sample>, Failure> {
        match scenario {
            "join" => Ok(vec![join::join(self, server).await?]),
            "inbound" => {
                let each = server.size(200, 20);
                let chain = inbound::inbound(self, server, 0..1, each).await?;
                let many = inbound::inbound(self, server, 1..11, each.div_ceil(10)).await?;
                Ok(vec![chain, many])
            }
            _ => {
                let pace = Pace {
                    messages: server.size(500, 20),
                    rate: match server.kind {
                        Kind::Hearth => 50,
                        Kind::Synapse => 2,
                    },
                };
                outbound::outbound(self, server, pace).await
            }
        }
    }
}

impl Options {
    fn wants(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == scenario)
    }
}

/// Measures; what is in `servers` is the caller's to end, however this ends.
pub(crate) async fn run(options: &Options, servers: &mut Vec<Server>) -> Result<(), Failure> {
    let scene = Scene::make(options).await?;
    let mut results = Vec::new();
    for scenario in SCENARIOS
        .into_iter()
        .filter(|scenario| options.wants(scenario))
    {
        let mut samples: BTreeMap<(String, String), Vec<Sample>> = BTreeMap::new();
        for _ in 0..options.rounds {
            for kind in options.common.kinds() {
                servers.push(scene.start(options, kind).await?);
                let Some(server) = servers.last_mut() else {
                    continue;
                };
                let ran = match observed(options, &scene, scenario, server).await {
                    Ok(ran) => ran,
                    Err(error) => {
                        say(&format!("{scenario} {}: {error}", server.name()));
                        say(&server.end_of_log());
                        Vec::new()
                    }
                };
                server.end(usize::MAX).await?;
                servers.clear();
                for sample in ran {
                    say(&page::line(&sample));
                    let key = (sample.scenario.clone(), sample.server.clone());
                    samples.entry(key).or_default().push(sample);
                }
            }
        }
        results.extend(samples.values().filter_map(|rounds| median(rounds)));
    }
    println!("{}", page::tables(&results));
    if options.common.keeps_results() {
        report::keep(&results)?;
        page::write()?;
    }
    Ok(())
}

/// Runs a scenario, looked at by `perf` if that is wanted.
async fn observed(
    options: &Options,
    scene: &Scene,
    scenario: &str,
    server: &Server,
) -> Result<Vec<Sample>, Failure> {
    let observer = match server.kind {
        Kind::Hearth => options.common.observe(server)?,
        Kind::Synapse => Observer::nobody(),
    };
    let ran = scene.run(scenario, server).await;
    observer.end().await?;
    ran
}

/// A sample of figures that only such a scenario has.
fn figures(server: &Server, scenario: &str, figures: &[(&str, f64)]) -> Sample {
    let figures = figures
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value));
    Sample {
        figures: figures.collect(),
        ..late(server, scenario, Vec::new())
    }
}
