//! This node among those over one store: how it enters and leaves, what an operator is told of the others, and the work
//! that one of them does for all where no crate below has a task for it. Must never decide who lives: the store's leases do.

use std::{net::SocketAddr, time::Duration};

use hearth_base::{Clock, Rng};
use hearth_rooms::{Rooms, Standing};
use hearth_store::{
    Store,
    leases::{self, About, Kept, Leases, Member, NodeId, held},
};
use tokio::{sync::watch, time::sleep};

use crate::{
    Error,
    upgrade::{self, Schema},
};

/// The lease on [`take_up`].
pub(crate) const INBOUND: &str = "inbound";

/// How often work is looked for that lies still.
const LOOK: Duration = Duration::from_secs(2);

/// Where the system says how the machine is called.
const HOST: &str = "/proc/sys/kernel/hostname";

/// Enters this node among those over `store`, as one that listens at `addresses` and knows records as `schema` says.
///
/// # Errors
/// If it could not run together with the others.
pub(crate) async fn join(
    store: &Store,
    clock: &dyn Clock,
    rng: &dyn Rng,
    addresses: &[SocketAddr],
    schema: Schema,
) -> Result<Leases, Error> {
    let mut node = NodeId([0; 8]);
    rng.fill(&mut node.0);
    let host = tokio::fs::read_to_string(HOST).await.unwrap_or_default();
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: format!("{} {}", host.trim(), addresses.join(",")),
        started: clock.now().0,
        schema: schema.writes,
    };
    let leases = Leases::join(store.clone(), node, about).await?;
    match upgrade::admit(store, schema).await {
        Ok(()) => Ok(leases),
        Err(error) => {
            leases.leave().await;
            Err(error)
        }
    }
}

/// Takes up, whenever the lease is held, what other servers sent and a node that died had taken over, until the server stops.
/// Each event is taken in once however many nodes try, so nothing here asserts the lease.
pub(crate) async fn take_up(rooms: Rooms, mut kept: Kept, mut stopping: watch::Receiver<bool>) {
    let mut standing = Standing::default();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            lease = held(&mut kept) => if lease.is_none() { return },
        }
        match rooms.resume(&standing).await {
            Ok(now) => standing = now,
            Err(error) => {
                tracing::debug!(%error, "it was not looked for work that lies still");
            }
        }
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = sleep(LOOK) => {}
        }
    }
}

/// The nodes that live, a line each, for people.
pub(crate) async fn status(store: &Store, clock: &dyn Clock) -> Result<String, Error> {
    let members = leases::members(&store.view().await?).await?;
    if members.is_empty() {
        return Ok("no node runs".to_owned());
    }
    let now = clock.now().0;
    let lines = members.iter().map(|member| line(member, now));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn line(member: &Member, now: u64) -> String {
    let About {
        version,
        address,
        started,
        schema: _,
    } = &member.about;
    let names: Vec<&str> = member
        .leases
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let held = match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    let up = age(now.saturating_sub(*started) / 1000);
    format!(
        "{}  version {version}  up {up}  at {address}  leases: {held}",
        member.id
    )
}

/// A time in seconds, in its two largest units.
fn age(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours / 24, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (days, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_line() {
        let member = Member {
            id: NodeId([0xAB; 8]),
            about: About {
                version: "1.2.3".to_owned(),
                address: "host 127.0.0.1:8008".to_owned(),
                started: 1_000,
                schema: 1,
            },
            leases: vec![
                ("inbound".to_owned(), leases::Epoch(1)),
                ("removal".to_owned(), leases::Epoch(7)),
            ],
        };
        assert_eq!(
            line(&member, 3_661_000),
            "abababababababab  version 1.2.3  up 1h01m  at host 127.0.0.1:8008  leases: inbound, removal"
        );
        let ages = [age(59), age(60), age(86_400)];
        assert_eq!(ages, ["59s", "1m00s", "1d00h"]);
    }
}
