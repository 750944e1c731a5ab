//! Views and the past: how long a view lives, and that nothing stays for ever.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hearth_base::SystemRng;
use tokio_postgres::NoTls;

use super::{
    super::{Options, PostgresEngine, open},
    cluster,
};
use crate::{
    Engine as _, Error, MemoryHints, Store,
    suite::{RECORDS, batch},
};

async fn open_short(url: &str) -> (Arc<PostgresEngine>, Store) {
    let mut options = Options::at(url);
    options.view_life = Duration::from_millis(300);
    let engine = open(options, Arc::new(SystemRng)).await.unwrap();
    let store = Store::new(engine.clone(), Arc::new(MemoryHints::new(|| 0)));
    (engine, store)
}

async fn put(store: &Store, value: u32) {
    let value = Bytes::copy_from_slice(&value.to_be_bytes());
    let write = batch(|b| b.put(&RECORDS, "r", value));
    store.commit(write).await.unwrap();
}

async fn count(url: &str, table: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let carrier = tokio::spawn(connection);
    let row = client
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await
        .unwrap();
    carrier.abort();
    row.get(0)
}

/// What a view needs stays for as long as a view may live; then the view fails, rather than show something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_right_until_it_fails() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let (engine, store) = open_short(&url).await;
    put(&store, 1).await;
    let view = store.view().await.unwrap();
    let first = Some(Bytes::copy_from_slice(&1u32.to_be_bytes()));
    assert_eq!(view.get(&RECORDS, "r").await.unwrap(), first);
    let mut value = 1u32;
    let failed = loop {
        value += 1;
        put(&store, value).await;
        match view.get_many(&RECORDS, ["r"]).await {
            Ok(found) => assert_eq!(found.first(), Some(&first)),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, Error::Unavailable(_)), "{failed}");
    // What was read of it before stays right.
    assert_eq!(view.get(&RECORDS, "r").await.unwrap(), first);
    let now = store.view().await.unwrap();
    let found = now.get(&RECORDS, "r").await.unwrap().unwrap();
    assert_eq!(found, Bytes::copy_from_slice(&value.to_be_bytes()));
    // Nothing stays for ever: each piece of the past goes, and so do the names of the groups.
    loop {
        put(&store, 0).await;
        let (past, groups) = (
            count(&url, "hearth_past").await,
            count(&url, "hearth_groups").await,
        );
        if past < i64::from(value) / 2 && groups < i64::from(value) / 2 {
            break;
        }
        value += 1;
    }
    engine.close().await.unwrap();
}

/// A backup reads its version however long it takes and however short views live.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_the_past() {
    use super::super::committer::HoldChange;
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let url = cluster.database().await;
    let (engine, store) = open_short(&url).await;
    put(&store, 1).await;
    let held = engine.hold([7; 16], HoldChange::Keep).await.unwrap();
    let view = store.view().await.unwrap();
    let other = store.view().await.unwrap();
    assert_eq!(view.position(), held.position);
    put(&store, 2).await;
    let young = store.view().await.unwrap();
    let mut value = 2;
    // Until views of later versions are over.
    loop {
        value += 1;
        put(&store, value).await;
        engine.hold([7; 16], HoldChange::Keep).await.unwrap();
        let past = count(&url, "hearth_groups").await;
        if past < i64::from(value) / 2 {
            break;
        }
    }
    for view in [&view, &other] {
        let found = view.get(&RECORDS, "r").await.unwrap().unwrap();
        assert_eq!(found, Bytes::copy_from_slice(&1u32.to_be_bytes()));
    }
    drop(young);
    engine.hold([7; 16], HoldChange::Release).await.unwrap();
    // Not a single key: those the view remembers.
    while view.get_many(&RECORDS, ["r"]).await.is_ok() {
        value += 1;
        put(&store, value).await;
    }
    engine.close().await.unwrap();
}
