//! Owns what a run leaves behind: a table, `bench/results.json`, the chart, and the generated part of `docs/performance.md`.
//! Must never drop what another run measured and this one did not.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::{Failure, chart, measure::Sample, scenarios::ALL};

/// Between lines of a page that say this of a part of it, everything is generated.
fn markers(part: &str) -> [String; 2] {
    ["begin", "end"].map(|place| format!("<!-- {part}: {place} -->\n"))
}

/// The part that most pages have one of.
pub(crate) const GENERATED: &str = "generated";

const HEAD: &str = "| scenario | server | a second | p50 ms | p95 ms | p99 ms | CPU s / 1,000 | resident MB | Synapse's CPU, times |\n\
                    |---|---|---|---|---|---|---|---|---|\n";

/// The folder of the results.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A figure to three digits.
pub(crate) fn figure(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value >= 99.5 => format!("{value:.0}"),
        Some(value) if value >= 9.95 => format!("{value:.1}"),
        Some(value) if value >= 0.995 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// A sample in one line, for whoever watches.
pub(crate) fn line(sample: &Sample) -> String {
    let further = match (sample.kb_each, sample.cpu_percent) {
        (Some(kb), Some(cpu)) => format!(
            ", {} kB each, CPU {} %",
            figure(Some(kb)),
            figure(Some(cpu))
        ),
        _ => String::new(),
    };
    format!(
        "{} {}: {}/s, p50 {} p95 {} p99 {} ms, CPU {} s/1000, {} MB{further}",
        sample.scenario,
        sample.server,
        figure(sample.rate_per_s),
        figure(sample.p50_ms),
        figure(sample.p95_ms),
        figure(sample.p99_ms),
        figure(sample.cpu_s_per_1000),
        figure(sample.rss_mb),
    )
}

/// How many times the CPU of Hearth Synapse takes for a scenario.
pub(crate) fn ratio(samples: &[Sample], scenario: &str) -> Option<f64> {
    let of = |server: &str| {
        let mut all = samples.iter();
        all.find(|s| s.scenario == scenario && s.server == server)?
            .cpu_s_per_1000
    };
    Some(of("synapse")? / of("hearth")?)
}

/// The samples as a table.
pub(crate) fn table(samples: &[Sample]) -> String {
    let mut table = HEAD.to_owned();
    for sample in samples {
        let ratio = match sample.server.as_str() {
            "hearth" => ratio(samples, &sample.scenario),
            _ => None,
        };
        table += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            sample.scenario,
            sample.server,
            figure(sample.rate_per_s),
            figure(sample.p50_ms),
            figure(sample.p95_ms),
            figure(sample.p99_ms),
            figure(sample.cpu_s_per_1000),
            figure(sample.rss_mb),
            ratio
                .map(|times| format!("**{}**", figure(Some(times))))
                .unwrap_or_default(),
        );
    }
    for sample in samples {
        if let (Some(kb), Some(cpu)) = (sample.kb_each, sample.cpu_percent) {
            table += &format!(
                "\n{}, while they wait: {} kB each, {} % of one core.\n",
                sample.server,
                figure(Some(kb)),
                figure(Some(cpu))
            );
        }
    }
    table
}

/// What `bench/results.json` says.
pub(crate) fn results() -> Result<Vec<Sample>, Failure> {
    match fs::read(root().join("results.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(_) => Ok(Vec::new()),
    }
}

/// Keeps new results beside those of other runs.
pub(crate) fn keep(new: &[Sample]) -> Result<(), Failure> {
    let samples = merged(results()?, new);
    let lines: Result<Vec<String>, _> = samples.iter().map(serde_json::to_string).collect();
    let text = format!("[\n  {}\n]\n", lines?.join(",\n  "));
    Ok(fs::write(root().join("results.json"), text)?)
}

/// Writes everything.
pub(crate) fn write(new: &[Sample]) -> Result<(), Failure> {
    keep(new)?;
    // Those of several nodes and of other servers are in tables of their own.
    let mut samples = results()?;
    samples.retain(|sample| {
        let others = ["scale_", "federation_"];
        !others
            .iter()
            .any(|other| sample.scenario.starts_with(other))
    });
    fs::write(root().join("results.svg"), chart::draw(&samples))?;
    let scenarios: String = ALL
        .iter()
        .map(|s| format!("| `{}` | {} |\n", s.name, s.about))
        .collect();
    let generated = format!(
        "{}\n| scenario | one operation |\n|---|---|\n{scenarios}",
        table(&samples)
    );
    rewrite("docs/performance.md", GENERATED, &generated)
}

/// Puts `generated` between the markers of a part of a page, and leaves the rest of it as it is.
pub(crate) fn rewrite(page: &str, part: &str, generated: &str) -> Result<(), Failure> {
    let path = root().join("..").join(page);
    let text = fs::read_to_string(&path)?;
    let [begin, end] = markers(part);
    let (before, rest) = text
        .split_once(&begin)
        .ok_or_else(|| format!("{page} has no marker of {part}"))?;
    let (_, after) = rest
        .split_once(&end)
        .ok_or_else(|| format!("{page} has no second marker of {part}"))?;
    let text = format!("{before}{begin}{generated}{end}{after}");
    Ok(fs::write(&path, text)?)
}

/// What was measured now, and before what was not.
fn merged(old: Vec<Sample>, new: &[Sample]) -> Vec<Sample> {
    let order = |name: &str| {
        let known = ALL
            .iter()
            .position(|scenario| name.starts_with(scenario.name));
        match name {
            // Longer names that begin alike.
            "send_16" | "fan_out_1000" | "deliver_100" | "deliver_1000" => {
                ALL.iter().position(|scenario| scenario.name == name)
            }
            _ => known,
        }
        .unwrap_or(usize::MAX)
    };
    let mut all: BTreeMap<(usize, String, String), Sample> = BTreeMap::new();
    for sample in old.into_iter().chain(new.iter().cloned()) {
        let key = (
            order(&sample.scenario),
            sample.scenario.clone(),
            sample.server.clone(),
        );
        all.insert(key, sample);
    }
    all.into_values().collect()
}
