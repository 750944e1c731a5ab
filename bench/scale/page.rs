//! Owns the table of `docs/scaling.md`, which is generated from `bench/results.json`. Must never drop what another run measured.

use crate::{
    Failure,
    measure::Sample,
    report::{self, figure},
};

/// The parts, as the columns name them.
const PARTS: [&str; 4] = ["nodes", "postgresql", "redis", "load"];

/// Writes the table of everything that was measured.
pub(super) fn write() -> Result<(), Failure> {
    let table = table(&report::results()?);
    report::rewrite("docs/scaling.md", report::GENERATED, &table)
}

/// Those who wait, and then what is sent, each for every number of nodes.
pub(super) fn table(samples: &[Sample]) -> String {
    let mut table = "| nodes | wait at all of them | p50 ms | p99 ms | kB each | CPU, % of a core: nodes | PostgreSQL | Redis | the load |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (nodes, parts) in rows(samples, "scale_wait_") {
        let first = parts[0];
        let cpu = parts.map(|part| figure(part.and_then(|part| part.cpu_percent)));
        table += &format!(
            "| {nodes} | {} | {} | {} | {} | {} |\n",
            first
                .and_then(|it| it.waiting)
                .map_or(String::new(), |it| it.to_string()),
            figure(first.and_then(|it| it.p50_ms)),
            figure(first.and_then(|it| it.p99_ms)),
            figure(first.and_then(|it| it.kb_each)),
            cpu.join(" | "),
        );
    }
    table += "\n| nodes | messages a second | p50 ms | p99 ms | CPU, ms a message: nodes | PostgreSQL | Redis | the load |\n\
              |---|---|---|---|---|---|---|---|\n";
    for (nodes, parts) in rows(samples, "scale_send_") {
        let first = parts[0];
        // Seconds for a thousand are milliseconds for one.
        let cpu = parts.map(|part| figure(part.and_then(|part| part.cpu_s_per_1000)));
        table += &format!(
            "| {nodes} | {} | {} | {} | {} |\n",
            figure(first.and_then(|it| it.rate_per_s)),
            figure(first.and_then(|it| it.p50_ms)),
            figure(first.and_then(|it| it.p99_ms)),
            cpu.join(" | "),
        );
    }
    table
}

/// The samples of the parts, by the number of nodes.
fn rows<'a>(samples: &'a [Sample], scenario: &str) -> Vec<(usize, [Option<&'a Sample>; 4])> {
    let number = |sample: &Sample| sample.scenario.strip_prefix(scenario)?.parse().ok();
    let mut numbers: Vec<usize> = samples.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let row = |nodes| {
        let part = |part: &str| {
            let mut all = samples.iter();
            all.find(|sample| number(sample) == Some(nodes) && sample.server == part)
        };
        (nodes, PARTS.map(part))
    };
    numbers.into_iter().map(row).collect()
}
