//! Making the tables of a store, and checking that those there are can be used.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::{
    connection::{Failure, Purpose, Target},
    statements::{FORM, TABLES},
};
use crate::Error;

/// How long making the tables is tried: several nodes may do it at the same moment, and one of them wins; or the database is
/// started at the same moment as this node.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Makes the tables unless they are there.
pub(super) async fn prepare(target: &Target) -> Result<(), Error> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        match try_prepare(target).await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.passing && begin.elapsed() < PATIENCE => {
                if begin.elapsed() > PATIENCE / 10 && !std::mem::replace(&mut told, true) {
                    tracing::warn!(error = %failure.error, "the database cannot be used yet");
                }
                sleep(PAUSE).await;
            }
            Err(failure) => return Err(failure.error),
        }
    }
}

async fn try_prepare(target: &Target) -> Result<(), Failure> {
    let line = target.connect(Purpose::Reading).await?;
    let client = &line.client;
    let form = match form(client).await {
        Ok(Some(form)) => Some(form),
        // The tables are missing, or another node is about to make them, or nothing can be read: then making them says
        // what is the matter.
        Ok(None) | Err(_) => {
            make(client).await?;
            form(client).await?
        }
    };
    if form != Some(FORM) {
        return Err(Failure::lasting(Error::Unavailable(match form {
            Some(0) => "its backup was not restored to the end: restore it again".to_owned(),
            other => format!("its form {other:?} is not the {FORM} of this version"),
        })));
    }
    warn_if_not_durable(client).await;
    Ok(())
}

pub(super) async fn form(client: &Client) -> Result<Option<i32>, tokio_postgres::Error> {
    let row = client
        .query_opt("SELECT form FROM hearth_head WHERE id = 0", &[])
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

pub(super) async fn make(client: &Client) -> Result<(), Failure> {
    for statement in TABLES {
        if let Err(error) = client.batch_execute(statement).await {
            let mut failure = Failure::from(error);
            // Another node makes the same at this moment, which a database answers in more than one way.
            failure.passing = true;
            return Err(failure);
        }
    }
    Ok(())
}

/// Says so if the database may lose what it acknowledged.
async fn warn_if_not_durable(client: &Client) {
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let shown = client.query_one(&format!("SHOW {setting}"), &[]).await;
        // Another database than PostgreSQL may not have the setting.
        if let Ok(value) = shown.and_then(|row| row.try_get::<_, String>(0))
            && value == "off"
        {
            tracing::warn!(
                "{setting} is off in the database: after a loss of power, acknowledged changes may be missing"
            );
        }
    }
}
