//! Made-up input for everything that other servers can hand to this one. Every input follows from its target and its seed
//! alone, so that what fails can be seen again. A panic is a failure, and so are a property that does not hold, a hang, and
//! memory that grows out of proportion.
//!
//!     fuzz COUNT                          so many seeds, from 1 on, spread over the targets
//!     fuzz --from S COUNT                 as many from S on
//!     fuzz --seed S                       one seed, told in detail
//!     fuzz ... --target NAME              one target alone
//!
//! | file | what |
//! |---|---|
//! | `source.rs` | choices that follow from a seed; made-up JSON, texts, spoilt bytes |
//! | `watch.rs` | the limits of an input |
//! | `oracle.rs` | canonical JSON, redaction and hashes, written a second time |
//! | `room.rs` | made-up rooms whose events passed the checks that the server makes |
//! | `canonical.rs`, `events.rs`, `signatures.rs`, `rules.rs`, `resolution.rs` | targets: the rules |
//! | `headers.rs`, `discovery.rs` | targets: who asks, where a server is |
//! | `transactions.rs` and below | target: a whole server, and a hostile one that sends to it |
//!
//! Threat model and results: `docs/security.md`.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a program for people who test"
)]

mod canonical;
mod discovery;
mod events;
mod headers;
mod oracle;
mod resolution;
mod room;
mod rules;
mod signatures;
mod source;
mod transactions;
mod watch;

use std::{process::ExitCode, time::Duration};

use source::Source;
use watch::Watch;

/// Whether an input was taken for good, or what does not hold.
pub(crate) type Outcome = Result<bool, String>;

/// Something that input is made up for.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// How many seeds of a thousand it gets: what costs more gets fewer.
    share: u64,
    run: fn(&Source) -> Outcome,
}

static TARGETS: [Target; 8] = [
    target("canonical", 300, canonical::run),
    target("events", 150, events::run),
    target("headers", 260, headers::run),
    target("discovery", 240, discovery::run),
    target("signatures", 30, signatures::run),
    target("rules", 14, rules::run),
    target("resolution", 5, resolution::run),
    target("transactions", 1, transactions::run),
];

const fn target(name: &'static str, share: u64, run: fn(&Source) -> Outcome) -> Target {
    Target { name, share, run }
}

/// What the inputs of a target came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    inputs: u64,
    taken: u64,
    time: Duration,
    slowest: (Duration, u64),
}

/// What is to be done.
struct Order {
    first: u64,
    count: u64,
    target: Option<usize>,
    is_told: bool,
}

fn main() -> ExitCode {
    let Some(order) = order() else {
        println!("usage: fuzz COUNT | --from S COUNT | --seed S   [--target NAME]");
        return ExitCode::from(2);
    };
    let watch = Watch::start();
    let mut tallies = [Tally::default(); TARGETS.len()];
    let mut failures = 0_u64;
    for seed in order.first..order.first.saturating_add(order.count) {
        let index = order.target.unwrap_or_else(|| by_share(seed));
        let target = &TARGETS[index];
        let source = Source::new(index, seed, order.is_told);
        let (outcome, spent) = watch.guard(target, seed, || (target.run)(&source));
        let tally = &mut tallies[index];
        tally.inputs += 1;
        tally.time += spent;
        tally.slowest = tally.slowest.max((spent, seed));
        match outcome {
            Ok(taken) => tally.taken += u64::from(taken),
            Err(reason) => {
                failures += 1;
                println!("fuzz --seed {seed} --target {}: {reason}", target.name);
            }
        }
    }
    transactions::close();
    report(&order, &tallies);
    println!("fuzz: {} inputs, {failures} failures", order.count);
    match failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn order() -> Option<Order> {
    let mut order = Order {
        first: 1,
        count: 0,
        target: None,
        is_told: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok();
        match word.as_str() {
            "--seed" => {
                order.first = number()?;
                order.count = 1;
                order.is_told = true;
            }
            "--from" => order.first = number()?,
            "--target" => {
                let name = words.next()?;
                let found = TARGETS.iter().position(|target| target.name == name);
                order.target = Some(found?);
            }
            count => order.count = count.parse().ok()?,
        }
    }
    (order.count > 0).then_some(order)
}

/// The target of a seed.
fn by_share(seed: u64) -> usize {
    // A step that is prime to a thousand mixes the targets.
    let mut place = seed.wrapping_mul(389) % 1000;
    for (index, target) in TARGETS.iter().enumerate() {
        if place < target.share {
            return index;
        }
        place -= target.share;
    }
    0
}

fn report(order: &Order, tallies: &[Tally]) {
    println!(
        "{:<13}{:>10}{:>10}{:>10}{:>12}{:>20}",
        "target", "inputs", "taken", "seconds", "a second", "slowest (seed)"
    );
    for (target, tally) in TARGETS.iter().zip(tallies) {
        if tally.inputs == 0 {
            continue;
        }
        let seconds = tally.time.as_secs_f64();
        println!(
            "{:<13}{:>10}{:>10}{:>10.1}{:>12.0}{:>20}",
            target.name,
            tally.inputs,
            tally.taken,
            seconds,
            tally.inputs as f64 / seconds.max(1e-9),
            format!("{:.0?} ({})", tally.slowest.0, tally.slowest.1),
        );
    }
    let last = order.first + order.count - 1;
    println!("seeds {} to {last}", order.first);
}
