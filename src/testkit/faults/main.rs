//! The fault test: three nodes over PostgreSQL and Redis, clients that write and read all the while, and everything that can
//! be killed, paused or restarted is. Afterwards every acknowledged event is in every reader's timeline exactly once and in
//! one order, no transaction made two events, and no work under a lease had effect twice. How long readers and work waited after
//! the death of a node is reported; what is longer than allowed makes a seed late, not wrong.
//!
//!     faults COUNT            that many seeds, one after the other, from 1 on
//!     faults --seed S         one seed, to see it again
//!     faults --from S COUNT   that many from S on
//!
//! A seed decides what happens when; how the processes take it is theirs. Needs PostgreSQL and Redis on this machine, and the
//! programs `hearth` and `tally` beside this one. Must never leave a process behind.
//!
//! | file | what |
//! |---|---|
//! | `plan.rs` | what a seed means |
//! | `database.rs` | PostgreSQL, and a replica to fail over to |
//! | `cluster.rs` | nodes, Redis, and what happens to them |
//! | `client.rs` | requests that go to another node when one does not answer |
//! | `writer.rs`, `reader.rs` | the clients |
//! | `judge.rs` | what must hold in the end |
//! | `tally.rs` | the program that works under leases, beside each node |
#![allow(clippy::print_stdout)]
#![allow(
    clippy::disallowed_methods,
    reason = "between the faults nothing else waits for this process"
)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use hearth_testkit::Template;
use tokio::time::Instant;

use self::{
    cluster::{Cluster, Programs},
    judge::Verdict,
    plan::Plan,
};

mod client;
mod cluster;
mod database;
mod judge;
mod plan;
mod reader;
mod run;
mod tables;
mod writer;

/// Whatever keeps a seed from being judged.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is asked for on the command line: the first seed, and how many.
fn asked() -> Result<(u64, u64), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--seed", seed] => Ok((seed.parse()?, 1)),
        ["--from", seed, count] => Ok((seed.parse()?, count.parse()?)),
        [count] => Ok((1, count.parse()?)),
        _ => Err("usage: faults COUNT | faults --seed S | faults --from S COUNT".into()),
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let (first, count) = asked()?;
    let programs = Programs::find()?;
    let template = Arc::new(Template::make(database::SETTINGS)?);
    let (mut failed, mut late) = (Vec::new(), Vec::new());
    let (mut stall, mut takeover) = (Duration::ZERO, Duration::ZERO);
    for seed in first..first + count {
        let began = Instant::now();
        let plan = Plan::of(seed);
        let cluster = Cluster::start(&programs, &template).await?;
        let outcome = run::run(&cluster, &plan).await;
        let verdict = outcome.unwrap_or_else(|error| Verdict::failed(error.to_string()));
        stall = stall.max(verdict.stall);
        takeover = takeover.max(verdict.takeover);
        let took = began.elapsed().as_secs();
        println!("seed {seed}: {verdict} ({took} s)");
        if verdict.is_late() {
            late.push(seed);
        }
        if !verdict.is_good() {
            failed.push(seed);
            println!("{}", plan.told());
            let kept = cluster.keep();
            println!("  what is left of it: {}", kept.display());
            println!("  again: ./test.sh faults --seed {seed}");
        }
    }
    println!(
        "{} of {count} seeds passed; after a kill no reader waited longer than {stall:.1?}, and no work lay longer than {takeover:.1?}",
        count - u64::try_from(failed.len())?,
    );
    if !late.is_empty() {
        println!(
            "longer than the 2 s and 5 s that are allowed, on a machine with nothing else to do: {late:?}"
        );
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed: {failed:?}");
    Ok(ExitCode::FAILURE)
}
