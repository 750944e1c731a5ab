//! Owns how many servers are sent to at once. Must never let servers that take long keep others from being sent to, nor more be
//! sent to at once than is said here.

use std::{pin::pin, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};

/// How many servers are sent to that answer soon.
const AT_ONCE: usize = 64;

/// How long one of these may take before another has its turn.
const SOON: Duration = Duration::from_secs(1);

/// How many servers are waited for longer: each is a connection, and a transaction in memory.
const SLOW_AT_ONCE: usize = 512;

/// The turns of those that are sent to.
pub(super) struct Slots {
    prompt: Semaphore,
    slow: Semaphore,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            prompt: Semaphore::new(AT_ONCE),
            slow: Semaphore::new(SLOW_AT_ONCE),
        }
    }

    /// Does `work` when it is its turn. What takes long goes on aside, as far as there is room; else it keeps its turn.
    pub(super) async fn take_turn<T>(&self, work: impl Future<Output = T>) -> T {
        // They are never closed.
        let turn = self.prompt.acquire().await;
        let mut work = pin!(work);
        let aside = tokio::select! {
            biased;
            done = &mut work => return done,
            aside = self.aside() => aside,
        };
        drop(turn);
        let done = work.await;
        drop(aside);
        done
    }

    /// Room for what has taken long already.
    async fn aside(&self) -> Option<SemaphorePermit<'_>> {
        sleep(SOON).await;
        self.slow.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{future::pending, sync::Arc};

    use tokio::{sync::oneshot, task::JoinSet, time::timeout};

    use super::*;

    /// As many that never end as are said, of which each has its turn or waits for it.
    async fn stuck(slots: &Arc<Slots>, count: usize) -> JoinSet<()> {
        let mut stuck = JoinSet::new();
        for _ in 0..count {
            let slots = slots.clone();
            stuck.spawn(async move { slots.take_turn(pending()).await });
        }
        // The clock moves when nothing else does.
        sleep(SOON / 2).await;
        stuck
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_keeps_nobody_waiting() {
        let slots = Arc::new(Slots::new());
        let _stuck = stuck(&slots, 3 * AT_ONCE).await;
        assert_eq!(slots.prompt.available_permits(), 0);
        let turn = timeout(100 * SOON, slots.take_turn(async {}));
        turn.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_at_work_than_is_said() {
        let slots = Arc::new(Slots::new());
        let _stuck = stuck(&slots, AT_ONCE + SLOW_AT_ONCE).await;
        let (tell, told) = oneshot::channel();
        let last = async {
            tell.send(()).unwrap();
        };
        let turn = timeout(100 * SOON, slots.take_turn(last));
        turn.await.unwrap_err();
        told.await.unwrap_err();
    }
}
