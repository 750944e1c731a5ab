//! Metrics for Prometheus. Must never have a label whose values a caller chooses.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Error;

/// The recorder of this process.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper ends of the classes of request durations, in seconds.
const DURATIONS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// How often what is recorded is summed up, so that it does not pile up between two visits of Prometheus.
const UPKEEP: Duration = Duration::from_secs(10);

/// Starts recording, once in a process, and keeps it trim while the runtime lives.
pub(crate) fn start() -> Result<(), Error> {
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&DURATIONS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|e| Error::refused(format!("metrics cannot be recorded: {e}")))?;
    RECORDER.get_or_init(|| handle);
    metrics::describe_counter!(
        "hearth_http_requests_total",
        "Requests answered, by endpoint and status"
    );
    metrics::describe_histogram!(
        "hearth_http_request_seconds",
        "Time to the head of the answer"
    );
    metrics::describe_gauge!("hearth_connections", "Open connections");
    metrics::describe_counter!(
        "hearth_panics_total",
        "Requests that ended in a defect of the server"
    );
    tokio::spawn(async {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            if let Some(recorder) = RECORDER.get() {
                recorder.run_upkeep();
            }
        }
    });
    Ok(())
}

/// Everything recorded so far, as Prometheus reads it.
pub(crate) fn render() -> String {
    RECORDER
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}
