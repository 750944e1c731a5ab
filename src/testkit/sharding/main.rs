//! A simulation of a log that is sharded: several rows, each with positions of its own, that commits of many nodes lock, and
//! readers whose token is a position of each. Nothing of it is built; it is here so that docs/scaling.md claims nothing that
//! was not tried.
//!
//!     sharding [SEED]
//!
//! First it checks, with and without each of the three rules that the design stands on:
//!
//! 1. a batch that touches two shards locks their rows in the order of their numbers: else two of them wait for each other;
//! 2. positions are given under the lock: else a reader passes one that appears later, and never sees it;
//! 3. a view is read in one statement: else it shows one half of a batch, or an event without the one it answers.
//!
//! With all three no reader may miss or repeat anything, and without one of them that must be found. Then it prints how many
//! batches a second the rows let through. It knows rows and round trips alone: no disk and no processor runs out.
//!
//! | file | what |
//! |---|---|
//! | `commits.rs` | rows, locks, groups, time |
//! | `readers.rs` | views, tokens, and what must hold of them |
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program for people who test"
)]

mod commits;
mod readers;

use std::process::ExitCode;

use commits::{Load, Rules, World};

/// What is measured: how many rows there are, and of a hundred batches how many touch two of them.
const SHARDS: [usize; 5] = [1, 2, 4, 8, 16];
const SHARES: [u64; 5] = [0, 2, 10, 30, 100];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seed = match arguments.next().map(|text| text.parse::<u64>()) {
        None => 1,
        Some(Ok(seed)) => seed,
        Some(Err(_)) => {
            println!("usage: sharding [SEED]");
            return ExitCode::from(2);
        }
    };
    let whole = Rules::default();
    let mut is_good = true;
    let cases = [
        ("all rules", whole, true),
        (
            "locks in any order",
            Rules {
                ordered: false,
                ..whole
            },
            false,
        ),
        (
            "positions before the lock",
            Rules {
                under_lock: false,
                ..whole
            },
            false,
        ),
        (
            "heads read one by one",
            Rules {
                one_statement: false,
                ..whole
            },
            false,
        ),
    ];
    for (name, rules, shall_hold) in cases {
        let load = Load {
            shards: 4,
            pairs_percent: 30,
            millis: 1000,
            readers: 20,
        };
        let outcome = World::new(seed, load, rules).run();
        is_good &= outcome.is_ok() == shall_hold;
        match outcome {
            Ok(rate) => {
                println!("{name}: nothing missed, repeated or torn ({rate} batches a second)")
            }
            Err(fault) => println!("{name}: {fault}"),
        }
    }
    println!("\nbatches a second, by shards (down) and percent of batches that touch two (across)");
    print!("{:>6}", "");
    SHARES.iter().for_each(|share| print!("{share:>9}%"));
    for shards in SHARDS {
        print!("\n{shards:>6}");
        for pairs_percent in SHARES {
            let load = Load {
                shards,
                pairs_percent,
                millis: 500,
                readers: 4,
            };
            match World::new(seed, load, whole).run() {
                Ok(rate) => print!("{rate:>10}"),
                Err(fault) => {
                    print!("{fault:>10}");
                    is_good = false;
                }
            }
        }
    }
    println!();
    match is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
