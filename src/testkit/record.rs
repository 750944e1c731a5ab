//! Stands before a homeserver, says at which address, and judges the server's answers until it is told to end (SIGTERM or
//! Ctrl-C). Ends with status 1 if an answer was not as the specification says.
//!
//!     record 127.0.0.1:8008
#![allow(clippy::print_stdout)]

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use hearth_conformance::{Recorder, Specification};
use hearth_testkit::Recording;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let server: SocketAddr = std::env::args().nth(1).ok_or("which address?")?.parse()?;
    let Some(specification) = Specification::shared()? else {
        return Err(
            "there is no specification beside the checkout, nor does HEARTH_SPEC name one".into(),
        );
    };
    let recorder = Arc::new(Recorder::new(specification));
    let recording = Recording::start(server, recorder.clone()).await?;
    let mut ended = signal(SignalKind::terminate())?;
    println!("http://{}", recording.address());
    tokio::select! {
        _ = ended.recv() => {}
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    let all = 0..specification.operations().len();
    let right: usize = all
        .map(|at| recorder.seen(at).values().sum::<usize>())
        .sum();
    let faults = recorder.faults();
    for fault in &faults {
        println!("{fault}");
    }
    println!(
        "answers as the specification says: {right}; faults: {}",
        faults.len()
    );
    Ok(match faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
