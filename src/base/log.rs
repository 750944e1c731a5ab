//! The log: lines for people or JSON for programs, on the standard error, with a filter that can be changed while running.
//!
//! Must never be started by anything but the binary: a library that logs says `tracing::info!` and knows no more.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// Changes the filter of a running log.
#[derive(Clone, Debug)]
pub struct Handle(reload::Handle<EnvFilter, Registry>);

/// Why the log cannot be what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be set up: {0}")]
pub struct Error(String);

/// Starts the log of this process. Once only.
///
/// # Errors
/// If the filter cannot be understood, or a log was started before.
pub fn start(settings: &Log) -> Result<Handle, Error> {
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let lines = match settings.format {
        LogFormat::People => tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|e| Error(e.to_string()))?;
    Ok(Handle(handle))
}

impl Handle {
    /// Logs by the filter of `settings` from now on. The format stays.
    ///
    /// # Errors
    /// If the filter cannot be understood.
    pub fn reload(&self, settings: &Log) -> Result<(), Error> {
        let filter = filter(settings)?;
        self.0.reload(filter).map_err(|e| Error(e.to_string()))
    }
}

fn filter(settings: &Log) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(&settings.filter).map_err(|e| Error(e.to_string()))
}
