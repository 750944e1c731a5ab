//! Owns the limits of an input: how long it may take, how much it may allocate, that it must not panic. Must never need the
//! input's own cooperation: a thread of its own ends the program when an input hangs, and says which.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Outcome, Target};

/// How many pages of four kilobytes the program may hold at once: one gigabyte, the store of the whole server included.
const MOST_PAGES: usize = 1 << 18;

/// How often is looked, and how often in vain before an input hangs: half a minute. Counted in looks, so that a program that
/// is stopped for a while finds nothing hanging.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: u32 = 1500;

/// Where panics were since the last input, and what they said: those of its tasks too, which end nothing else.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Looks after the inputs.
pub(crate) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: Mutex<Option<(&'static str, u64)>>,
    /// Grows with each input.
    number: AtomicU64,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn start() -> Self {
        std::panic::set_hook(Box::new(|info| {
            PANICS.lock().push(info.to_string());
        }));
        let shared = Arc::new(Shared::default());
        let looked_at = shared.clone();
        std::thread::spawn(move || look(&looked_at));
        Self(shared)
    }

    /// Lets an input run.
    pub(crate) fn guard(
        &self,
        target: &'static Target,
        seed: u64,
        input: impl FnOnce() -> Outcome,
    ) -> (Outcome, Duration) {
        *self.0.current.lock() = Some((target.name, seed));
        self.0.number.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(input));
        let spent = begun.elapsed();
        *self.0.current.lock() = None;
        let panics = std::mem::take(&mut *PANICS.lock());
        match outcome {
            Ok(outcome) if panics.is_empty() => (outcome, spent),
            _ => (Err(panics.join("; ")), spent),
        }
    }
}

/// Ends the program when an input hangs or holds too much.
#[allow(clippy::disallowed_methods, reason = "a thread of its own")]
fn look(shared: &Shared) {
    let (mut number, mut looks) = (0, 0);
    loop {
        std::thread::sleep(LOOK);
        let now = shared.number.load(Ordering::Relaxed);
        looks = if now == number { looks + 1 } else { 0 };
        number = now;
        let Some((target, seed)) = *shared.current.lock() else {
            looks = 0;
            continue;
        };
        let pages = pages();
        if pages > MOST_PAGES || looks > PATIENCE {
            println!(
                "fuzz --seed {seed} --target {target}: hangs, or grows: {pages} pages are held"
            );
            std::process::exit(1);
        }
    }
}

/// How many pages the program holds, as Linux says; none elsewhere.
fn pages() -> usize {
    let held = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let held = held.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    held.unwrap_or_default()
}
