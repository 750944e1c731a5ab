//! The threads that read from the disk: a fixed number, behind a bounded queue. When the queue is full a read fails as
//! unavailable at once, since waiting longer would only make everyone late.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Condvar, Mutex};

use super::start;
use crate::Error;

/// How many reads wait at most.
const QUEUE: usize = 4096;

/// A read, with its way to answer.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The pool. Its threads end when it is dropped.
pub(super) struct Readers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Readers {
    /// Starts `threads` threads, one at least.
    pub(super) fn start(threads: usize) -> Result<Self, Error> {
        let pool = Self(Arc::default());
        for number in 0..threads.max(1) {
            let shared = pool.0.clone();
            start(&format!("store-read-{number}"), move || shared.work())?;
        }
        Ok(pool)
    }

    /// Queues `job`, or refuses it when too many wait.
    pub(super) fn submit(&self, job: Job) -> Result<(), Error> {
        let mut state = self.0.state.lock();
        if state.jobs.len() >= QUEUE {
            metrics::counter!("hearth_store_reads_refused_total").increment(1);
            return Err(Error::Unavailable("too many reads are waiting".to_owned()));
        }
        state.jobs.push_back(job);
        drop(state);
        self.0.wake.notify_one();
        metrics::counter!("hearth_store_reads_from_disk_total").increment(1);
        Ok(())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            self.wake.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_refuses() {
        let pool = Readers::start(1).unwrap();
        let (started, on_start) = mpsc::channel();
        let (release, blocked) = mpsc::channel::<()>();
        pool.submit(Box::new(move || {
            started.send(()).unwrap();
            blocked.recv().unwrap();
        }))
        .unwrap();
        on_start.recv().unwrap();
        for _ in 0..QUEUE {
            pool.submit(Box::new(|| ())).unwrap();
        }
        assert!(matches!(
            pool.submit(Box::new(|| ())),
            Err(Error::Unavailable(_))
        ));
        release.send(()).unwrap();
        let (done, on_done) = mpsc::channel();
        // The queue drains; then there is room again.
        while pool
            .submit(Box::new({
                let done = done.clone();
                move || done.send(()).unwrap()
            }))
            .is_err()
        {
            std::thread::yield_now();
        }
        on_done.recv().unwrap();
    }
}
