//! A disk that fills up: an error, no corruption, and the store works again once there is space.
//!
//! Two ways to run out of space, both in a child process: a limit on the size of a file, which everyone may set, and
//! a small file system in memory, where mounting one is allowed.

use std::{fs, io::Write as _, path::Path, process::Command, sync::Arc};

use bytes::Bytes;

use super::{Options, open};
use crate::{
    CommitError, Direction, Engine, Error, MemoryHints, Store, View,
    suite::{INDEX, LOG, RECORDS, batch},
};

const STORE: &str = "HEARTH_FULL_STORE";

/// Set for the child if the disk is full because of this file.
const BALLAST: &str = "HEARTH_FULL_BALLAST";

async fn write(store: &Store, n: u64) -> Result<(), CommitError> {
    let write = batch(|b| {
        // Does not compress: a multiplicative hash of its place.
        let noise = (0..2048u64)
            .flat_map(|i| {
                ((n << 11 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i << 40).to_be_bytes()
            })
            .collect::<Vec<u8>>();
        b.put(&RECORDS, format!("{n}"), Bytes::from(noise));
        b.put(&INDEX, ("n", n), "");
        b.append(&LOG, format!("{n}").as_str());
    });
    store.commit(write).await.map(drop)
}

/// Every batch up to `acknowledged` is there whole; of those after it any is, or is not.
async fn check(view: &View, acknowledged: u64) {
    let log = view
        .scan_prefix(&LOG, (), Direction::Forward, usize::MAX)
        .await
        .unwrap();
    assert_eq!(u64::try_from(log.len()).unwrap(), view.position().0);
    let mut last = 0;
    for (_, entry) in &log {
        let n: u64 = entry.parse().unwrap();
        assert!(n > last);
        if n <= acknowledged {
            assert_eq!(n, last + 1);
        }
        last = n;
        let record = view.get(&RECORDS, entry).await.unwrap().unwrap();
        assert_eq!(record.len(), 16_384);
        assert!(view.get(&INDEX, ("n", n)).await.unwrap().is_some());
    }
    assert!(last >= acknowledged, "{last} of {acknowledged}");
    let index = view
        .scan_prefix(&INDEX, ("n",), Direction::Forward, usize::MAX)
        .await
        .unwrap();
    assert_eq!(index.len(), log.len());
}

/// Writes until the disk is full, then makes room and goes on.
async fn child(path: &Path) {
    let engine = open(Options::at(path)).unwrap();
    let store = Store::new(engine.clone(), Arc::new(MemoryHints::new(|| 0)));
    let mut n = 0;
    let refusal = loop {
        n += 1;
        assert!(n < 5000, "the disk does not fill up");
        if let Err(refusal) = write(&store, n).await {
            break refusal;
        }
    };
    let acknowledged = n - 1;
    assert!(
        matches!(refusal, CommitError::Failed(Error::Unavailable(_))),
        "{refusal:?}"
    );
    // What was read before can be read still.
    check(&store.view().await.unwrap(), acknowledged).await;
    if let Ok(ballast) = std::env::var(BALLAST) {
        // It stays an error for as long as the disk is full to the brim, and reads go on.
        fill_up(&path.with_file_name("more ballast"));
        n += 1;
        let refusal = write(&store, n).await;
        assert!(matches!(
            refusal,
            Err(CommitError::Failed(Error::Unavailable(_)))
        ));
        check(&store.view().await.unwrap(), acknowledged).await;
        fs::remove_file(ballast).unwrap();
        fs::remove_file(path.with_file_name("more ballast")).unwrap();
    }
    // There is space (a new log file, or what the ballast took): the next commit opens the store afresh.
    n += 1;
    let resumed = n;
    write(&store, n).await.unwrap();
    for _ in 0..20 {
        n += 1;
        write(&store, n).await.unwrap();
    }
    let view = store.view().await.unwrap();
    for n in resumed..=n {
        assert!(view.get(&INDEX, ("n", n)).await.unwrap().is_some());
    }
    check(&view, acknowledged).await;
    drop(view);
    engine.close().await.unwrap();
    let engine = open(Options::at(path)).unwrap();
    let store = Store::new(engine.clone(), Arc::new(MemoryHints::new(|| 0)));
    check(&store.view().await.unwrap(), acknowledged).await;
    engine.close().await.unwrap();
}

/// Writes to a file for as long as the disk takes it.
fn fill_up(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0x5A; 4096]).is_ok() {}
}

/// Runs this test in a child, below the shell script `around`, which ends in running its arguments.
fn run(around: &[&str], store: &Path, test: &str, ballast: Option<&Path>) {
    let (program, arguments) = around.split_first().unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(STORE, store);
    if let Some(ballast) = ballast {
        command.env(BALLAST, ballast);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow() {
    if let Ok(path) = std::env::var(STORE) {
        child(Path::new(&path)).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    // 6 MiB, in blocks of 512 bytes; without the signal that would end the process.
    let script = "trap '' XFSZ; ulimit -f 12288; exec \"$@\"";
    let test = "engines::rocksdb::tests::full::a_file_that_may_not_grow";
    run(&["sh", "-c", script, "sh"], &path, test, None);
    // And without the limit.
    let engine = open(Options::at(&path)).unwrap();
    let store = Store::new(engine.clone(), Arc::new(MemoryHints::new(|| 0)));
    check(&store.view().await.unwrap(), 0).await;
    write(&store, 10_000).await.unwrap();
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn a_file_system_without_space() {
    if let Ok(path) = std::env::var(STORE) {
        child(Path::new(&path)).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=40m tmpfs {}",
        folder.path().display()
    );
    // In a name space of its own: the mount goes with the child.
    let allowed = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &mount])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no file system may be mounted here");
        return;
    }
    let ballast = folder.path().join("ballast");
    let script = format!(
        "{mount} && head -c 25000000 /dev/zero > {} && exec \"$@\"",
        ballast.display()
    );
    let around = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let store = folder.path().join("store");
    let test = "engines::rocksdb::tests::full::a_file_system_without_space";
    run(&around, &store, test, Some(&ballast));
}
