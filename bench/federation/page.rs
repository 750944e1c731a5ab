//! Owns the tables of other servers in `docs/performance.md`, which are generated from `bench/results.json`. Must never drop what
//! another run measured.

use crate::{
    Failure,
    measure::Sample,
    report::{self, figure},
};

/// A column: its title, and the figure in it.
type Column = (&'static str, fn(&Sample) -> Option<f64>);

/// A table: its title, the scenarios in it, and its columns.
struct Table {
    about: &'static str,
    rows: &'static [(&'static str, &'static str)],
    columns: &'static [Column],
}

fn of(sample: &Sample, name: &str) -> Option<f64> {
    sample.figures.get(name).copied()
}

const TABLES: [Table; 3] = [
    Table {
        about: "A user joins a room of 20,000 state events, 10,000 of them members on 100 servers; seconds since the request:",
        rows: &[("federation_join", "join")],
        columns: &[
            ("answer, s", |s| of(s, "answer_s")),
            ("own message taken, s", |s| of(s, "own_s")),
            ("another's message seen, s", |s| of(s, "first_s")),
            ("all members known, s", |s| of(s, "complete_s")),
            ("memory grows at most, MB", |s| of(s, "growth_mb")),
            ("CPU s", |s| of(s, "cpu_s")),
        ],
    },
    Table {
        about: "Messages that others send, 50 a transaction, a transaction at a time from each server:",
        rows: &[
            ("federation_inbound_1", "one server, one room"),
            ("federation_inbound_10", "ten servers at once, a room each"),
        ],
        columns: &[
            ("events", |s| of(s, "events")),
            ("a second", |s| s.rate_per_s),
            ("CPU s / 1,000", |s| s.cpu_s_per_1000),
            ("memory grows at most, MB", |s| of(s, "growth_mb")),
        ],
    },
    Table {
        about: "Messages to 1,000 servers; a delivery is one message at one server that lives:",
        rows: &[
            ("federation_outbound", "all live"),
            ("federation_outbound_dead", "a third dead"),
        ],
        columns: &[
            ("messages", |s| of(s, "messages")),
            ("all delivered, s", |s| of(s, "all_s")),
            ("missing", |s| of(s, "missing")),
            ("p50 ms", |s| s.p50_ms),
            ("p99 ms", |s| s.p99_ms),
            ("most, ms", |s| of(s, "most_ms")),
            ("CPU s / 1,000", |s| s.cpu_s_per_1000),
            ("memory grows at most, MB", |s| of(s, "growth_mb")),
            ("sockets at most", |s| of(s, "sockets")),
        ],
    },
];

/// Writes the tables of everything that was measured.
pub(super) fn write() -> Result<(), Failure> {
    let tables = tables(&report::results()?);
    report::rewrite("docs/performance.md", "federation", &tables)
}

/// Those of the tables for which there is something.
pub(super) fn tables(samples: &[Sample]) -> String {
    let tables: Vec<_> = TABLES
        .iter()
        .filter_map(|table| table.text(samples))
        .collect();
    tables.join("\n")
}

impl Table {
    fn text(&self, samples: &[Sample]) -> Option<String> {
        let titles: Vec<_> = self.columns.iter().map(|(title, _)| *title).collect();
        let mut text = format!(
            "{}\n\n| scenario | server | {} |\n|---|---|{}\n",
            self.about,
            titles.join(" | "),
            "---|".repeat(titles.len())
        );
        let mut is_empty = true;
        for (scenario, about) in self.rows {
            for sample in samples.iter().filter(|sample| sample.scenario == *scenario) {
                is_empty = false;
                let cells = self.columns.iter().map(|(_, of)| match of(sample) {
                    Some(0.0) => "0".to_owned(),
                    value => figure(value),
                });
                let cells = cells.collect::<Vec<_>>().join(" | ");
                text += &format!("| {about} | {} | {cells} |\n", sample.server);
            }
        }
        (!is_empty).then_some(text)
    }
}

/// A sample in one line, for whoever watches.
pub(super) fn line(sample: &Sample) -> String {
    let figures = sample
        .figures
        .iter()
        .map(|(name, value)| (name.as_str(), Some(*value)));
    let others = [
        ("rate", sample.rate_per_s),
        ("p50_ms", sample.p50_ms),
        ("p99_ms", sample.p99_ms),
        ("cpu_s_per_1000", sample.cpu_s_per_1000),
    ];
    let others = others.into_iter().filter(|(_, value)| value.is_some());
    let words: Vec<_> = figures
        .chain(others)
        .map(|(name, value)| format!("{name} {}", figure(value)))
        .collect();
    format!(
        "{} {}: {}",
        sample.scenario,
        sample.server,
        words.join(", ")
    )
}
