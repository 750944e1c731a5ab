//! Owns how much a server uses at most while something happens. Must never take time from the load: it looks on a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Failure, process, server::Server};

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(200);

/// The most that was seen of a server's processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// Resident.
    pub(super) bytes: f64,
    pub(super) sockets: usize,
    pub(super) files: usize,
}

/// Looks until it is ended.
pub(super) struct Watch {
    is_over: Arc<AtomicBool>,
    looks: JoinHandle<Peak>,
    before: f64,
}

impl Watch {
    /// From now on.
    pub(super) fn start(server: &Server) -> Self {
        let (roots, is_over) = (server.roots(), Arc::new(AtomicBool::new(false)));
        let before = process::resident_bytes(&roots);
        let over = is_over.clone();
        let looks = thread::spawn(move || {
            let mut peak = Peak::default();
            while !over.load(Ordering::Relaxed) {
                let (files, sockets) = process::open_files(&roots);
                peak.bytes = peak.bytes.max(process::resident_bytes(&roots));
                peak.files = peak.files.max(files);
                peak.sockets = peak.sockets.max(sockets);
                thread::sleep(PAUSE);
            }
            peak
        });
        Self {
            is_over,
            looks,
            before,
        }
    }

    /// The most since the start, and by how many bytes it is more than at the start.
    pub(super) fn end(self) -> Result<(Peak, f64), Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let peak = self.looks.join().map_err(|_| "the watch broke off")?;
        Ok((peak, peak.bytes - self.before))
    }
}
