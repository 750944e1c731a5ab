//! The tree against a plain map, and its figures in a room of 100,000 members.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{collections::BTreeMap, sync::Arc};

use hearth_store::{Batch, MemoryHints, Store, batch::Write, engines::rocksdb};
use proptest::prelude::*;
use ruma::{EventId, OwnedEventId};

use super::{Change, Overlay, Root, StateTree, Which};

const ROOM: u64 = 7;

type Model = BTreeMap<(String, String), OwnedEventId>;
type Update = (String, String, Option<OwnedEventId>);

fn store(dir: &std::path::Path) -> Store {
    let engine = rocksdb::open(rocksdb::Options::at(dir)).unwrap();
    Store::new(engine, Arc::new(MemoryHints::new(|| 0)))
}

/// An event id in the form of room version 4 and later; of every seven, one in that of version 1 and one in that of 3.
fn event_id(number: u64) -> OwnedEventId {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    };
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(number.to_be_bytes());
    let text = match number % 7 {
        3 => format!("${number}:example.org"),
        4 => format!("${}", STANDARD_NO_PAD.encode(hash)),
        _ => format!("${}", URL_SAFE_NO_PAD.encode(hash)),
    };
    EventId::parse(text).unwrap()
}

async fn commit(store: &Store, overlay: &Overlay, roots: &[Root]) -> Vec<Write> {
    let mut batch = Batch::new();
    overlay.write_into(&mut batch, ROOM, roots);
    let writes = batch.writes.clone();
    store.commit(batch).await.unwrap();
    writes
}

fn entries(found: Vec<(String, String, OwnedEventId)>) -> Model {
    let count = found.len();
    let model: Model = found.into_iter().map(|(t, k, id)| ((t, k), id)).collect();
    assert_eq!(model.len(), count, "an entry came twice");
    model
}

fn differences(old: &Model, new: &Model) -> Vec<Change> {
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |key: &(String, String)| Change {
        event_type: key.0.clone(),
        state_key: key.1.clone(),
        old: old.get(key).cloned(),
        new: new.get(key).cloned(),
    };
    keys.into_iter()
        .map(change)
        .filter(|c| c.old != c.new)
        .collect()
}

fn updates() -> impl Strategy<Value = Vec<(u8, u8, Option<u64>)>> {
    prop::collection::vec(
        (0..4u8, 0..40u8, prop::option::weighted(0.7, 0..1000u64)),
        1..120,
    )
}

fn named((kind, key, event): (u8, u8, Option<u64>)) -> Update {
    let types = [
        "m.room.member",
        "m.room.name",
        "org.example.own",
        "m.space.child",
    ];
    let long = if key % 9 == 0 {
        "x".repeat(240)
    } else {
        String::new()
    };
    (
        types[usize::from(kind)].to_owned(),
        format!("@{key}{long}:a"),
        event.map(event_id),
    )
}

fn apply(model: &mut Model, (event_type, key, id): &Update) {
    let key = (event_type.clone(), key.clone());
    match id {
        Some(id) => drop(model.insert(key, id.clone())),
        None => drop(model.remove(&key)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a tree, it answers like a map, its root depends on the entries alone, and the
    /// difference of any two snapshots is that of the maps.
    #[test]
    fn answers_like_a_map(first in updates(), second in updates()) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = store(dir.path());
            let tree = StateTree::new(4096);
            let mut models = vec![Model::new()];
            let mut roots = vec![Root::EMPTY];
            for part in [first, second] {
                let view = store.view().await.unwrap();
                let mut overlay = Overlay::new();
                let mut root = *roots.last().unwrap();
                let mut model = models.last().unwrap().clone();
                let part: Vec<_> = part.into_iter().map(named).collect();
                let together =
                    tree.update(&view, &mut Overlay::new(), ROOM, root, &part).await.unwrap();
                for update in part {
                    apply(&mut model, &update);
                    root = tree.update(&view, &mut overlay, ROOM, root, &[update]).await.unwrap();
                }
                assert_eq!(together, root, "updates together gave another root than one by one");
                let planned = tree.scan((&view, &overlay), ROOM, root, Which::All).await.unwrap();
                assert_eq!(entries(planned), model);
                commit(&store, &overlay, &[root]).await;
                models.push(model);
                roots.push(root);
            }
            let view = store.view().await.unwrap();
            let tree = StateTree::new(4096);
            for (model, root) in models.iter().zip(&roots) {
                assert_eq!(&entries(tree.scan(&view, ROOM, *root, Which::All).await.unwrap()), model);
                let members = tree.scan(&view, ROOM, *root, Which::Of("m.room.member")).await.unwrap();
                let expected = model.iter().filter(|((t, _), _)| t == "m.room.member").count();
                assert_eq!(members.len(), expected);
                for (kind, key) in (0..4).flat_map(|kind| (0..40).map(move |key| (kind, key))) {
                    let (t, k, _) = named((kind, key, None));
                    let found = tree.get(&view, ROOM, *root, &t, &k).await.unwrap();
                    assert_eq!(found.as_ref(), model.get(&(t, k)));
                }
                let all: Vec<_> =
                    model.iter().rev().map(|((t, k), id)| (t.clone(), k.clone(), Some(id.clone()))).collect();
                let mut overlay = Overlay::new();
                let again = tree.update(&view, &mut overlay, ROOM, Root::EMPTY, &all).await.unwrap();
                assert_eq!(again, *root, "the same entries gave another root");
            }
            for (a, model_a) in roots.iter().zip(&models) {
                for (b, model_b) in roots.iter().zip(&models) {
                    let diff = tree.diff(&view, ROOM, *a, *b).await.unwrap();
                    assert_eq!(diff, differences(model_a, model_b));
                }
            }
        });
    }
}

fn size(writes: &[Write]) -> usize {
    let bytes = |write: &Write| match write {
        Write::Put { key, value, .. } => key.bytes.len() + value.bytes.len() + 1,
        Write::Delete { key, .. } | Write::Add { key, .. } => key.len() + 1,
    };
    writes.iter().map(bytes).sum()
}

type Name = (String, String);

fn member(number: u64) -> Name {
    (
        "m.room.member".to_owned(),
        format!("@user_{number}:example.org"),
    )
}

/// Builds a room of `count` members with the usual other state; returns its root.
async fn big_room(
    store: &Store,
    tree: &StateTree,
    count: u64,
    name: &impl Fn(u64) -> Name,
) -> Root {
    let mut root = Root::EMPTY;
    let others = [
        "create",
        "power_levels",
        "join_rules",
        "history_visibility",
        "name",
        "topic",
    ];
    let state = others.iter().zip(5_000_000..).map(|(name, number)| {
        (
            format!("m.room.{name}"),
            String::new(),
            Some(event_id(number * 7)),
        )
    });
    let members = (0..count).map(|number| {
        let (event_type, key) = name(number);
        (event_type, key, Some(event_id(number * 7)))
    });
    let all: Vec<_> = state.chain(members).collect();
    let (mut nodes, mut bytes) = (0, 0);
    for part in all.chunks(10_000) {
        let view = store.view().await.unwrap();
        let mut overlay = Overlay::new();
        root = tree
            .update(&view, &mut overlay, ROOM, root, part)
            .await
            .unwrap();
        let writes = commit(store, &overlay, &[root]).await;
        nodes += writes.len();
        bytes += size(&writes);
    }
    println!("a room of {count} members in parts of 10,000: {nodes} nodes, {bytes} bytes");
    root
}

/// The mean and the most of what was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    all: usize,
    times: usize,
    most: usize,
}

impl Figure {
    fn add(&mut self, seen: usize) {
        self.all += seen;
        self.times += 1;
        self.most = self.most.max(seen);
    }

    fn mean(self) -> usize {
        self.all / self.times
    }
}

/// Builds a room of `count` members named by `name`, and changes a thousand of them. What a change writes in bytes, keys
/// included, and how many nodes the difference of neighbours reads.
async fn changes(count: u64, name: impl Fn(u64) -> Name) -> (Figure, Figure) {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let tree = StateTree::new(64 << 20);
    let mut root = big_room(&store, &tree, count, &name).await;
    let (mut bytes, mut nodes) = (Figure::default(), Figure::default());
    for step in 0..1000 {
        let view = store.view().await.unwrap();
        let (event_type, key) = name(step * (count / 1000) + step % (count / 1000).max(1));
        let update = (event_type, key, Some(event_id((10_000_000 + step) * 7)));
        let mut overlay = Overlay::new();
        let next = tree
            .update(&view, &mut overlay, ROOM, root, &[update])
            .await
            .unwrap();
        bytes.add(size(&commit(&store, &overlay, &[next]).await));
        let view = store.view().await.unwrap();
        let before = tree.loads();
        assert_eq!(tree.diff(&view, ROOM, root, next).await.unwrap().len(), 1);
        nodes.add(usize::try_from(tree.loads() - before).unwrap());
        root = next;
    }
    println!(
        "{count} members, keys like {}: a change writes {} bytes, {} at most; a difference reads {} nodes, {} at most",
        name(0).1,
        bytes.mean(),
        bytes.most,
        nodes.mean(),
        nodes.most
    );
    let before = tree.loads();
    let view = store.view().await.unwrap();
    let members = Which::Of("m.room.member");
    let found = tree.scan(&view, ROOM, root, members).await.unwrap();
    println!("all of them: {} nodes", tree.loads() - before);
    assert_eq!(u64::try_from(found.len()).unwrap(), count);
    (bytes, nodes)
}

/// In a room of 100,000 members a change writes at most 1,100 bytes, and the difference of neighbours reads at most 20 nodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_small_in_a_big_room() {
    let (bytes, nodes) = changes(100_000, member).await;
    assert!(bytes.most <= 1100, "{bytes:?}");
    assert!(bytes.mean() <= 900, "{bytes:?}");
    assert!(nodes.most <= 20, "{nodes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_small_in_a_usual_room() {
    let (bytes, nodes) = changes(1000, member).await;
    assert!(bytes.most <= 750, "{bytes:?}");
    assert!(nodes.most <= 12, "{nodes:?}");
}

/// Longer names, and a million members: figures for the decision page.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_change_is_small_in_other_big_rooms() {
    let long = |number| {
        let key = format!("@a-rather-long-local-part-{number}:matrix.of-a-long-name.example.org");
        ("m.room.member".to_owned(), key)
    };
    let (bytes, nodes) = changes(100_000, long).await;
    assert!(
        bytes.most <= 1250 && nodes.most <= 20,
        "{bytes:?} {nodes:?}"
    );
    let (bytes, nodes) = changes(1_000_000, member).await;
    assert!(
        bytes.most <= 1250 && nodes.most <= 20,
        "{bytes:?} {nodes:?}"
    );
}

/// The tree is no deeper than chance makes it, and a page of a scan is no larger than its nodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_goes_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let tree = StateTree::new(1 << 20);
    let root = big_room(&store, &tree, 3000, &member).await;
    let view = store.view().await.unwrap();
    let mut scan = tree.walk(&view, ROOM, root, Which::Except("m.room.name"));
    let mut all = Vec::new();
    while let Some(page) = scan.next_page().await.unwrap() {
        assert!(page.len() <= 64 * 9, "a page of {}", page.len());
        all.extend(page);
    }
    assert_eq!(entries(all).len(), 3005);
    let mut differences = tree.compare(&view, ROOM, Root::EMPTY, root);
    let mut pages = Vec::new();
    while let Some(page) = differences.next_page().await.unwrap() {
        assert!(page.len() <= 32 * 9, "a page of {}", page.len());
        pages.extend(page);
    }
    assert_eq!(pages.len(), 3006);
}

/// However many nodes are read, those that are kept take no more memory than they may.
#[tokio::test(flavor = "multi_thread")]
async fn the_cache_keeps_within_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let root = big_room(&store, &StateTree::new(1 << 20), 3000, &member).await;
    let view = store.view().await.unwrap();
    let tree = StateTree::new(50_000);
    tree.scan(&view, ROOM, root, Which::All).await.unwrap();
    let kept = tree.memory();
    assert!((10_000..=50_000).contains(&kept), "{kept} bytes");
}
