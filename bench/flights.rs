//! Owns the closed loop: callers that each wait for an answer before they ask again. Bounded in number and time.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::{
    Failure,
    http::Client,
    measure::{Meter, Sample, since},
    server::Server,
};

/// After this long no operation is begun.
const LONGEST: Duration = Duration::from_secs(60);

/// Lets `flights` callers do `total` operations together, after a few that are not measured. An operation gets a connection,
/// the number of its caller, and its own number, which is unique in this call.
pub(crate) async fn fly(
    server: &Server,
    scenario: &str,
    (flights, total): (usize, usize),
    operation: impl AsyncFn(&mut Client, usize, usize) -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    let each = total.div_ceil(flights);
    let warm_up = (each / 20).clamp(1, 20);
    let mut clients: Vec<Client> = (0..flights).map(|_| server.client()).collect();
    let operation = &operation;
    let warming = clients
        .iter_mut()
        .enumerate()
        .map(|(flight, client)| async move {
            for turn in 0..warm_up {
                operation(client, flight, flight * warm_up + turn).await?;
            }
            Ok::<_, Failure>(())
        });
    try_join_all(warming).await?;
    let done = flights * warm_up;
    let meter = Meter::start(server);
    let end = Instant::now() + LONGEST;
    let flying = clients
        .iter_mut()
        .enumerate()
        .map(|(flight, client)| async move {
            let mut latencies = Vec::with_capacity(each);
            for turn in 0..each {
                let begin = Instant::now();
                if begin > end {
                    break;
                }
                operation(client, flight, done + flight * each + turn).await?;
                latencies.push(since(begin));
            }
            Ok::<_, Failure>(latencies)
        });
    let latencies = try_join_all(flying).await?.concat();
    Ok(meter.stop(server, scenario, latencies))
}
