//! Owns what a measurement is: how fast, how late, at what price. Must never mix two servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{process, server::Server};

/// One scenario on one server. Latencies in milliseconds; what was not measured is missing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) scenario: String,
    /// `hearth` or `synapse`; of several nodes the part: `nodes`, `postgresql`, `redis` or `load`.
    pub(crate) server: String,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// CPU seconds of all processes of the server for 1,000 operations.
    pub(crate) cpu_s_per_1000: Option<f64>,
    /// Resident memory of all processes of the server at the end of the scenario, in megabytes of 10^6 bytes.
    pub(crate) rss_mb: Option<f64>,
    /// Resident memory for each waiting request, in kB of 1,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kb_each: Option<f64>,
    /// How many requests wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<usize>,
    /// CPU while requests wait, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_percent: Option<f64>,
    /// What only some scenarios measure, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) figures: BTreeMap<String, f64>,
}

/// A measurement under way.
pub(crate) struct Meter {
    begin: Instant,
    cpu: f64,
}

impl Meter {
    /// From now on.
    pub(crate) fn start(server: &Server) -> Self {
        Self {
            begin: Instant::now(),
            cpu: process::cpu_seconds(&server.roots()),
        }
    }

    /// Seconds, and CPU seconds of the server, since the start.
    pub(crate) fn so_far(&self, server: &Server) -> (f64, f64) {
        let cpu = process::cpu_seconds(&server.roots()) - self.cpu;
        (self.begin.elapsed().as_secs_f64(), cpu)
    }

    /// Ends with the latencies, in milliseconds, of the operations that were done.
    pub(crate) fn stop(&self, server: &Server, scenario: &str, latencies: Vec<f64>) -> Sample {
        let (seconds, cpu) = self.so_far(server);
        let count = count(latencies.len());
        Sample {
            rate_per_s: Some(count / seconds),
            cpu_s_per_1000: (count > 0.0).then_some(cpu * 1000.0 / count),
            ..late(server, scenario, latencies)
        }
    }
}

/// A sample of latencies alone.
pub(crate) fn late(server: &Server, scenario: &str, latencies: Vec<f64>) -> Sample {
    let (p50_ms, p95_ms, p99_ms) = percentiles(latencies);
    Sample {
        scenario: scenario.to_owned(),
        server: server.name().to_owned(),
        p50_ms,
        p95_ms,
        p99_ms,
        rss_mb: Some(process::resident_bytes(&server.roots()) / 1e6),
        ..Sample::default()
    }
}

/// The 50th, 95th and 99th percentile.
pub(crate) fn percentiles(mut values: Vec<f64>) -> (Option<f64>, Option<f64>, Option<f64>) {
    values.sort_by(f64::total_cmp);
    (at(&values, 50), at(&values, 95), at(&values, 99))
}

/// The value below which `percent` of the sorted values lie.
fn at(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The median of each figure over the rounds of one scenario on one server.
pub(crate) fn median(rounds: &[Sample]) -> Option<Sample> {
    let first = rounds.first()?;
    let of = |figure: &dyn Fn(&Sample) -> Option<f64>| {
        let mut values: Vec<f64> = rounds.iter().filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        at(&values, 50)
    };
    let figures = first.figures.keys().filter_map(|name| {
        let median = of(&|sample| sample.figures.get(name).copied())?;
        Some((name.clone(), median))
    });
    Some(Sample {
        scenario: first.scenario.clone(),
        server: first.server.clone(),
        rate_per_s: of(&|s| s.rate_per_s),
        p50_ms: of(&|s| s.p50_ms),
        p95_ms: of(&|s| s.p95_ms),
        p99_ms: of(&|s| s.p99_ms),
        cpu_s_per_1000: of(&|s| s.cpu_s_per_1000),
        rss_mb: of(&|s| s.rss_mb),
        waiting: first.waiting,
        kb_each: of(&|s| s.kb_each),
        cpu_percent: of(&|s| s.cpu_percent),
        figures: figures.collect(),
    })
}

/// A number of things, for arithmetic.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn count(things: usize) -> f64 {
    things as f64
}

/// Milliseconds since `begin`.
pub(crate) fn since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
