//! How the process takes memory and gives it back, and how many files it may open. Owns the only unsafe calls to the system.
//!
//! The allocator is jemalloc, for RocksDB as well: what ten thousand connections took is given back when they are gone, which
//! that of the GNU C library does not do, and it takes a third less time.

/// What everything is allocated with.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One arena a core, so that threads seldom wait for each other and little is kept apart; what is freed goes back within a
/// few seconds, by a thread of the allocator's own.
#[cfg(not(target_env = "msvc"))]
#[allow(
    unsafe_code,
    reason = "the allocator is configured by a symbol that it looks for"
)]
// SAFETY: no other symbol has this name, and the allocator reads it as a text that ends with a zero byte.
#[unsafe(export_name = "malloc_conf")]
static ALLOCATION: &[u8; 80] =
    b"percpu_arena:percpu,background_thread:true,dirty_decay_ms:3000,muzzy_decay_ms:0\0";

/// Allows this process as many open files, and so connections, as the system lets it have without asking anybody.
#[cfg(unix)]
#[allow(unsafe_code, reason = "there is no safe way to say this to the system")]
pub(crate) fn allow_connections() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a structure that lives until they return, and keep none.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
