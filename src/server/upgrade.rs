//! Which form the records of a store have, which programs can read them, and whether this program can run beside the nodes
//! that do.
//!
//! Owns the number of the form and the one record about it. Must never change a record of another crate: what a new release
//! adds, its crates write as they go. The rule, and how a release keeps it: docs/decisions/0016-upgrades-one-node-at-a-time.md.

use std::{collections::BTreeSet, time::Duration};

use hearth_store::{Batch, CommitError, Family, Json, Store, Table, View, leases};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::Error;

/// The form of the records in this store.
const FORM: Table<(), Json<Form>> = Table::new(201, "form", Family::Records);

/// How often the record is planned again after a conflict: other nodes start at the same moment.
const TRIES: u32 = 20;

/// How long nodes that cannot read what this program writes may live on: somewhat longer than a killed one seems to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at the others.
const LOOK: Duration = Duration::from_millis(500);

/// What a program makes of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The form that it writes, and the newest that it knows. Raised by every release that adds to the records.
    pub writes: u32,
    /// The form that a program must know to run over what this one writes.
    pub needs: u32,
}

impl Schema {
    /// Of this program. The second form has rooms whose members are not known, which a program of the first would take for whole.
    pub const THIS: Self = Self {
        writes: 2,
        needs: 2,
    };
}

impl Default for Schema {
    fn default() -> Self {
        Self::THIS
    }
}

/// The record: the newest form of anything in the store, and of the program that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Form {
    writes: u32,
    needs: u32,
    /// For people.
    version: String,
}

/// A node that runs, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    version: String,
    writes: u32,
}

/// What runs on a store, as one who has it open tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Nothing for a store that is new or was made before there was a record.
    form: Option<Form>,
    nodes: Vec<Running>,
}

/// Looks at a store.
pub(crate) async fn look(view: &View) -> Result<Found, Error> {
    let form = view.get(&FORM, ()).await?.map(|Json(form)| form);
    let members = leases::members(view).await?.into_iter();
    let nodes = members.map(|member| Running {
        version: member.about.version,
        writes: member.about.schema,
    });
    Ok(Found {
        form,
        nodes: nodes.collect(),
    })
}

/// Why a program of this schema cannot read what is there; `None` if it can.
fn unreadable(found: &Found, schema: Schema) -> Option<String> {
    let form = found.form.as_ref()?;
    (form.needs > schema.writes).then(|| {
        format!(
            "version {} has written records that this version cannot read: run that version or a newer one",
            form.version
        )
    })
}

/// Which nodes could not read what a program of this schema writes; `None` if all can.
fn left_behind(found: &Found, schema: Schema) -> Option<String> {
    let old = found.nodes.iter().filter(|node| node.writes < schema.needs);
    let old: BTreeSet<_> = old.map(|node| node.version.as_str()).collect();
    (!old.is_empty()).then(|| {
        format!(
            "nodes of version {} run, which cannot read what this version writes: stop them first, or upgrade all of them to a \
             version in between",
            old.into_iter().collect::<Vec<_>>().join(", ")
        )
    })
}

/// Whether a program of this schema can read what is there.
///
/// # Errors
/// That it cannot.
pub(crate) async fn check(view: &View, schema: Schema) -> Result<(), Error> {
    match unreadable(&look(view).await?, schema) {
        Some(reason) => Err(Error::refused(reason)),
        None => Ok(()),
    }
}

/// Lets a node of this schema write, and notes what it writes. It has joined the others before.
///
/// Of two nodes that could not run together and start at the same moment, at least one finds the other: each looks after it has
/// written down what the other looks for.
///
/// # Errors
/// If it cannot read what is there, or nodes that live could not read what it writes.
pub(crate) async fn admit(store: &Store, schema: Schema) -> Result<(), Error> {
    check(&store.view().await?, schema).await?;
    await_others(store, schema).await?;
    if note(store, schema).await? {
        await_others(store, schema).await?;
    }
    Ok(())
}

/// Waits until no node lives that could not read what this one writes. One that was killed counts as living for some seconds.
async fn await_others(store: &Store, schema: Schema) -> Result<(), Error> {
    // Of one process alone, there are no others; what a killed one left is not yet taken away.
    if store.engine().concerned(None).await?.is_none() {
        return Ok(());
    }
    let begin = Instant::now();
    loop {
        let found = look(&store.view().await?).await?;
        let Some(reason) = left_behind(&found, schema) else {
            return Ok(());
        };
        if begin.elapsed() > PATIENCE {
            return Err(Error::refused(reason));
        }
        sleep(LOOK).await;
    }
}

/// Notes what a program of this schema writes; whether that is news.
async fn note(store: &Store, schema: Schema) -> Result<bool, Error> {
    for _ in 0..TRIES {
        let view = store.view().await?;
        let known = view.get(&FORM, ()).await?.map(|Json(form)| form);
        let (writes, needs) = (schema.writes, schema.needs);
        let before = known.as_ref();
        if before.is_some_and(|form| form.writes >= writes && form.needs >= needs) {
            return Ok(false);
        }
        let form = Form {
            writes: before.map_or(writes, |form| form.writes.max(writes)),
            needs: before.map_or(needs, |form| form.needs.max(needs)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut batch = Batch::new();
        batch.assert_unchanged(&FORM, (), known.map(Json));
        batch.put(&FORM, (), Json(form));
        match store.commit(batch).await {
            Ok(_) => return Ok(true),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Failed(error)) => return Err(error.into()),
        }
    }
    Err(Error::refused(
        "other nodes change the store all the time: try again",
    ))
}

/// What an operator is told who wants to run this program on a store: whether it can, and how.
///
/// # Errors
/// That it cannot, and the remedy.
pub(crate) fn advice(found: &Found, schema: Schema) -> Result<String, Error> {
    if let Some(reason) = unreadable(found, schema).or_else(|| left_behind(found, schema)) {
        return Err(Error::refused(reason));
    }
    let form = found.form.as_ref().map_or_else(
        || "new".to_owned(),
        |form| format!("of form {}", form.writes),
    );
    let versions: BTreeSet<_> = found
        .nodes
        .iter()
        .map(|node| node.version.as_str())
        .collect();
    let running = match found.nodes.len() {
        0 => "no node runs".to_owned(),
        count => {
            let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
            format!("nodes that run: {count}, version {versions}")
        }
    };
    let back = found.form.as_ref().map_or(1, |form| form.needs);
    let back = match schema.needs > back {
        true => {
            "Once it has run, versions that were fit for this store until now cannot be run again."
        }
        false => "The versions that are fit for this store now stay so: going back is possible.",
    };
    Ok(format!(
        "this version {} writes form {}\nthe records are {form}; {running}\n\
         It can run beside them: replace one node after the other. {back}",
        env!("CARGO_PKG_VERSION"),
        schema.writes
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use hearth_store::{MemoryHints, engines::rocksdb};

    use super::*;

    const fn schema(writes: u32, needs: u32) -> Schema {
        Schema { writes, needs }
    }

    fn nodes(writes: &[u32]) -> Vec<Running> {
        let node = |writes: &u32| Running {
            version: format!("0.{writes}"),
            writes: *writes,
        };
        writes.iter().map(node).collect()
    }

    #[test]
    fn a_version_runs_beside_those_that_can_read_what_it_writes() {
        let form = Form {
            writes: 3,
            needs: 2,
            version: "0.3".to_owned(),
        };
        let found = Found {
            form: Some(form),
            nodes: nodes(&[2, 3, 3]),
        };
        for fit in [schema(2, 1), schema(3, 2), schema(4, 2)] {
            assert!(advice(&found, fit).is_ok());
        }
        let why = |schema| advice(&found, schema).unwrap_err().to_string();
        assert!(why(schema(1, 1)).contains("version 0.3 has written"));
        assert!(why(schema(4, 3)).contains("nodes of version 0.2 run"));
        let text = advice(&found, schema(4, 2)).unwrap();
        assert!(
            text.contains("of form 3; nodes that run: 3, version 0.2, 0.3"),
            "{text}"
        );
        assert!(text.contains("going back is possible"), "{text}");
        let alone = Found {
            nodes: Vec::new(),
            form: found.form.clone(),
        };
        assert!(
            advice(&alone, schema(4, 3))
                .unwrap()
                .contains("cannot be run again")
        );
    }

    #[tokio::test]
    async fn the_newest_form_is_noted_and_an_older_program_does_not_undo_that() {
        let folder = tempfile::tempdir().unwrap();
        let engine = rocksdb::open(rocksdb::Options::at(folder.path())).unwrap();
        let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
        let noted = async || {
            let found = look(&store.view().await.unwrap()).await.unwrap();
            found.form.map(|form| (form.writes, form.needs))
        };
        assert_eq!(noted().await, None);
        for (ours, then) in [
            (schema(1, 1), (1, 1)),
            (schema(2, 1), (2, 1)),
            (schema(1, 1), (2, 1)),
            (schema(3, 2), (3, 2)),
            (schema(2, 1), (3, 2)),
        ] {
            admit(&store, ours).await.unwrap();
            assert_eq!(noted().await, Some(then));
        }
        assert!(admit(&store, schema(1, 1)).await.is_err());
    }
}
