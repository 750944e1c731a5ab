//! A writing process is killed, again and again: no acknowledged batch is lost, no half of one is there.
//!
//! The test binary runs itself as the child, which checks the store, then writes and tells on its standard output what
//! was acknowledged, until it is killed. This shows that an acknowledged batch has left the process. That it is also
//! on the disk, not just with the operating system, is shown by `waiting_commits_share_syncs`, as far as it can be.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;

use super::{IMMUTABLE, INDEX, LOG, RECORDS, batch};
use crate::{Batch, Direction, Engine, MemoryHints, Position, Store, View};

/// Set for the child: where the store is, in a form that the engine understands.
const STORE: &str = "HEARTH_KILL_STORE";

/// Set for the child: the last number of each writer that was acknowledged, and that was checked already.
const KNOWN: &str = "HEARTH_KILL_KNOWN";

/// How many rounds, if not the default.
const ROUNDS: &str = "HEARTH_KILLS";

/// How many tasks of the child write.
const WRITERS: usize = 4;

/// What is known of each writer's numbers, which count from one.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Must be there.
    acknowledged: [u64; WRITERS],
    /// Was found whole in an earlier round.
    checked: [u64; WRITERS],
    /// Up to here the log was checked.
    log: u64,
}

impl Known {
    fn text(&self) -> String {
        let numbers = self.acknowledged.iter().chain(&self.checked);
        let text: Vec<String> = numbers.chain([&self.log]).map(u64::to_string).collect();
        text.join(" ")
    }

    fn read(text: &str) -> Self {
        let numbers: Vec<u64> = text.split(' ').map(|n| n.parse().unwrap()).collect();
        Self {
            acknowledged: numbers[..WRITERS].try_into().unwrap(),
            checked: numbers[WRITERS..2 * WRITERS].try_into().unwrap(),
            log: numbers[2 * WRITERS],
        }
    }
}

/// Where the child is to find the store; `None` in the test itself.
pub(crate) fn place() -> Option<String> {
    std::env::var(STORE).ok()
}

/// What the child does: checks, then writes until it is killed.
pub(crate) async fn child(engine: Arc<dyn Engine>) {
    let store = Store::new(engine, Arc::new(MemoryHints::new(|| 0)));
    let known = Known::read(&std::env::var(KNOWN).unwrap());
    let view = store.view().await.unwrap();
    let (last, log) = check(&view, &known).await;
    drop(view);
    let found: Vec<String> = last.iter().map(u64::to_string).collect();
    say(&format!("checked {} {log}", found.join(" ")));
    let writers = last.into_iter().enumerate().map(|(writer, last)| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in last + 1.. {
                store.commit(planned(writer, number)).await.unwrap();
                say(&format!("ack {writer} {number}"));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// Straight to the pipe, in one piece, on a line of its own even where the harness has begun one.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn record(writer: usize, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8] = u8::try_from(writer).unwrap();
    key
}

/// The batch of a number: something in each family, of a size that varies.
fn planned(writer: usize, number: u64) -> Batch {
    let name = format!("writer {writer}");
    batch(|b| {
        let before = (number > 1).then(|| Bytes::from((number - 1).to_string()));
        b.assert_unchanged(&RECORDS, name.as_str(), before);
        b.put(&RECORDS, name.as_str(), Bytes::from(number.to_string()));
        let size = usize::try_from(number * 37 % 900).unwrap();
        b.put(
            &IMMUTABLE,
            record(writer, number),
            Bytes::from(vec![b'x'; size]),
        );
        b.put(&INDEX, (name.as_str(), number), number.to_string().as_str());
        b.append(&LOG, format!("{writer} {number}").as_str());
    })
}

/// Checks what is new since `known`; the last number of each writer, and the end of the log.
async fn check(view: &View, known: &Known) -> ([u64; WRITERS], u64) {
    let mut last = [0; WRITERS];
    for (writer, last) in last.iter_mut().enumerate() {
        let name = format!("writer {writer}");
        let found = view.get(&RECORDS, name.as_str()).await.unwrap();
        *last = found.map_or(0, |bytes| {
            String::from_utf8(bytes.to_vec()).unwrap().parse().unwrap()
        });
        let acknowledged = known.acknowledged[writer];
        assert!(
            *last >= acknowledged,
            "writer {writer}: {acknowledged} was acknowledged, {last} is there"
        );
        let first = known.checked[writer] + 1;
        // Whole up to the last, and nothing of what came after it.
        for number in first..=*last + 3 {
            let there = number <= *last;
            let value = view.get(&IMMUTABLE, record(writer, number)).await.unwrap();
            let size = value.map(|v| u64::try_from(v.len()).unwrap());
            assert_eq!(size, there.then_some(number * 37 % 900));
            let index = view.get(&INDEX, (name.as_str(), number)).await.unwrap();
            assert_eq!(index, there.then(|| number.to_string()));
        }
    }
    let from = Position(known.log).next();
    let log = view
        .scan(
            &LOG,
            from..Position::MAX,
            Direction::Forward,
            crate::SCAN_LIMIT,
        )
        .await
        .unwrap();
    let mut next = known.checked;
    for ((at, entry), expected) in log.iter().zip(from.0..) {
        assert_eq!(at.0, expected, "a gap in the log");
        let (writer, number) = entry.split_once(' ').unwrap();
        let writer: usize = writer.parse().unwrap();
        next[writer] += 1;
        assert_eq!(number, next[writer].to_string());
    }
    assert_eq!(next, last, "the log tells of every batch");
    assert_eq!(view.position().0, last.iter().sum::<u64>());
    (last, view.position().0)
}

/// Kills `HEARTH_KILLS` children (or `rounds`), which the test of the path `test` is when it finds [`place`] set.
/// At last `open` opens the store, to check all of it again.
pub(crate) async fn many_times(
    test: &str,
    store: &str,
    rounds: u64,
    open: impl AsyncFnOnce() -> Arc<dyn Engine>,
) {
    let rounds = std::env::var(ROUNDS).map_or(rounds, |n| n.parse().unwrap());
    let mut known = Known::default();
    // A number for each round, the same in every run.
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    for round in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Some die while they open or check, most after a while.
        let lines = match random % 8 {
            0 => 0,
            _ => random / 8 % 60 + 1,
        };
        let child = start(test, store, &known);
        kill(child, lines, &mut known, round);
    }
    let engine = open().await;
    let everything = Known {
        checked: [0; WRITERS],
        log: 0,
        ..known
    };
    let store = Store::new(engine.clone(), Arc::new(MemoryHints::new(|| 0)));
    let view = store.view().await.unwrap();
    check_all(&view, &everything).await;
    drop((view, store));
    engine.close().await.unwrap();
}

/// As [`check`] from the beginning, in pieces that a scan holds.
async fn check_all(view: &View, known: &Known) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut at = Position::ZERO;
    loop {
        let page = view
            .scan(
                &LOG,
                at.next()..Position::MAX,
                Direction::Forward,
                crate::SCAN_LIMIT,
            )
            .await
            .unwrap();
        let Some((last, _)) = page.last() else { break };
        let page_end = *last;
        for (position, entry) in page {
            assert_eq!(position, at.next());
            at = position;
            let (writer, number) = entry.split_once(' ').unwrap();
            let count = next.entry(writer.to_owned()).or_default();
            *count += 1;
            assert_eq!(number, count.to_string());
            let key = record(writer.parse().unwrap(), *count);
            assert!(view.get(&IMMUTABLE, key).await.unwrap().is_some());
        }
        assert_eq!(at, page_end);
    }
    assert_eq!(at, view.position());
    for (writer, acknowledged) in known.acknowledged.iter().enumerate() {
        let found = next.get(&writer.to_string()).copied().unwrap_or(0);
        assert!(found >= *acknowledged);
    }
}

fn start(test: &str, store: &str, known: &Known) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(STORE, store)
        .env(KNOWN, known.text())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills `child` once it has said `lines` lines of its own, and remembers all that it said by then.
fn kill(mut child: Child, lines: u64, known: &mut Known, round: u64) {
    let out = child.stdout.take().unwrap();
    let (mut said, mut killed) = (0, false);
    // Lines that were in the pipe when it died count as well: they were said.
    for line in BufReader::new(out).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["checked", numbers @ ..] => {
                let numbers: Vec<u64> = numbers.iter().map(|n| n.parse().unwrap()).collect();
                known.checked = numbers[..WRITERS].try_into().unwrap();
                known.log = numbers[WRITERS];
                said += 1;
            }
            ["ack", writer, number] => {
                let writer: usize = writer.parse().unwrap();
                known.acknowledged[writer] = number.parse().unwrap();
                said += 1;
            }
            // Of the test harness: the child is alive, and opens the store.
            _ => {}
        }
        if said >= lines && !killed {
            // SIGKILL: it gets no chance to finish anything.
            child.kill().unwrap();
            killed = true;
        }
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        killed,
        "round {round}: the child ended by itself: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
