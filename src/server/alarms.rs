//! Tells the administrators of alarms: that the state of a room went back. On the node that has the lease. Owns when and in which
//! words; must never drop an alarm that nobody was told of, save where the server has no administrator.

use std::time::Duration;

use hearth_client_api::{App, tell_administrators};
use hearth_rooms::Alarm;
use hearth_store::leases::{Kept, held};
use tokio::{sync::watch, time::sleep};

/// Between two looks, and so between two notices: alarms of that time are told together.
const LOOK: Duration = Duration::from_secs(60);

/// How many alarms one notice names.
const MAX_NAMED: usize = 10;

/// The lease on this work.
pub(crate) const LEASE: &str = "alarms";

/// Works, whenever the lease is held, until the server stops. Who is told twice was told by a node that died meanwhile.
pub(crate) async fn serve(app: App, mut kept: Kept, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            lease = held(&mut kept) => if lease.is_none() { return },
        }
        if let Err(error) = tell(&app).await {
            tracing::warn!(error, "the administrators are not told of an alarm now");
        }
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = sleep(LOOK) => {}
        }
    }
}

async fn tell(app: &App) -> Result<(), String> {
    let alarms = app.rooms.alarms().await.map_err(|e| e.to_string())?;
    if alarms.is_empty() {
        return Ok(());
    }
    let (told, alarms): (Vec<_>, Vec<_>) = alarms.into_iter().unzip();
    tell_administrators(app, &words(&alarms)).await?;
    app.rooms
        .forget_alarms(&told)
        .await
        .map_err(|e| e.to_string())
}

/// What is said about some alarms.
fn words(alarms: &[Alarm]) -> String {
    let mut text = "The state of a room went back though no newer event says so. Branches of a room that meet may come to that by \
                    the rules; a server may also have told a wrong state. `hearth room replay ROOM` computes it again."
        .to_owned();
    for alarm in alarms.iter().take(MAX_NAMED) {
        let Alarm {
            room_id,
            event_id,
            count,
            users,
            powers,
        } = alarm;
        let mut lost = Vec::new();
        if *count > 0 {
            let more = if users.len() < *count {
                " and others"
            } else {
                ""
            };
            lost.push(format!(
                "{count} no longer joined: {}{more}",
                users.join(", ")
            ));
        }
        if *powers {
            lost.push("the power levels are older ones".to_owned());
        }
        text += &format!("\n{room_id}, with {event_id}: {}", lost.join("; "));
    }
    if alarms.len() > MAX_NAMED {
        text += &format!(
            "\nand {} more, which the log names",
            alarms.len() - MAX_NAMED
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ruma::{event_id, room_id};

    use super::*;

    #[test]
    fn an_alarm_says_who_and_what() {
        let alarm = Alarm {
            room_id: room_id!("!a:b").to_owned(),
            event_id: event_id!("$e").to_owned(),
            count: 3,
            users: vec!["@c:d".to_owned(), "@e:f".to_owned()],
            powers: true,
        };
        let told = words(&vec![alarm; 12]);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 12);
        assert_eq!(
            lines[1],
            "!a:b, with $e: 3 no longer joined: @c:d, @e:f and others; the power levels are older ones"
        );
        assert_eq!(lines[11], "and 2 more, which the log names");
    }
}
