//! Metrics for Prometheus. Must never have a label whose values a caller chooses.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::Error;

/// The recorder of this process, or why there is none.
static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();

/// Upper ends of the classes of request durations, in seconds.
const DURATIONS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// How often what is recorded is summed up, so that it does not pile up between two visits of Prometheus.
const UPKEEP: Duration = Duration::from_secs(10);

/// Starts recording, once in a process, and keeps it trim while the runtime lives.
pub(crate) fn start() -> Result<(), Error> {
    let recorder = RECORDER.get_or_init(|| install().map_err(|e| e.to_string()));
    if let Err(error) = recorder {
        return Err(Error::refused(format!(
            "metrics cannot be recorded: {error}"
        )));
    }
    tokio::spawn(async {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            if let Some(Ok(recorder)) = RECORDER.get() {
                recorder.run_upkeep();
            }
        }
    });
    Ok(())
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&DURATIONS)?
        .install_recorder()?;
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
    metrics::describe_counter!(
        "hearth_rooms_removed_total",
        "Rooms that every user had left and forgotten, and of which nothing is left"
    );
    metrics::describe_counter!(
        "hearth_room_records_removed_total",
        "Records of such rooms that were removed, without nodes of their state"
    );
    Ok(handle)
}

/// Everything recorded so far, as Prometheus reads it.
pub(crate) fn render() -> String {
    match RECORDER.get() {
        Some(Ok(recorder)) => recorder.render(),
        _ => String::new(),
    }
}
