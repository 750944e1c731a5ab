//! How the process gives memory back, and how many files it may open. Owns the only unsafe calls to the system.
//!
//! The allocator of the GNU C library keeps eight arenas a core, and keeps what was freed in each. The store, the async workers and
//! the hashing of passwords allocate on many threads. After the client flows a server held 172 MB; with these limits it holds 36.

/// Arenas that threads share: enough for the cores not to wait for each other.
const FEWEST_ARENAS: usize = 2;
/// Larger pieces are mapped one by one and given back when they are freed; a freed end of that length is given back too.
const LARGE: i32 = 512 << 10;

/// Limits what the allocator keeps. Before other threads start.
#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "there is no safe way to say this to the C library"
)]
pub(crate) fn tame_allocator() {
    let cores = std::thread::available_parallelism().map_or(FEWEST_ARENAS, usize::from);
    let arenas = i32::try_from(cores.max(FEWEST_ARENAS)).unwrap_or(i32::MAX);
    let limits = [
        (libc::M_ARENA_MAX, arenas),
        (libc::M_MMAP_THRESHOLD, LARGE),
        (libc::M_TRIM_THRESHOLD, LARGE),
    ];
    for (limit, value) in limits {
        // SAFETY: `mallopt` takes two integers, keeps no pointer, and no other thread runs yet.
        unsafe { libc::mallopt(limit, value) };
    }
}

/// Other C libraries keep little by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn tame_allocator() {}

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
