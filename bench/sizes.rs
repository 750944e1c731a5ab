//! Owns how large the scenarios are. Must never differ between servers: what does is said where it is used.

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Whether numbers of operations are divided too.
    pub(crate) is_quick: bool,
    pub(crate) talkers: usize,
    /// In each of the big rooms.
    pub(crate) members: usize,
    pub(crate) big_rooms: usize,
    pub(crate) fans: usize,
    pub(crate) idlers: usize,
    pub(crate) hosts: usize,
    /// Long polls that are begun in a second.
    pub(crate) ramp: usize,
    /// Messages in the room whose pages are read.
    pub(crate) messages: usize,
}

impl Sizes {
    /// Those of the published figures.
    pub(crate) const FULL: Self = Self {
        is_quick: false,
        talkers: 450,
        members: 300,
        big_rooms: 300,
        fans: 1000,
        idlers: 10_000,
        hosts: 100,
        ramp: 400,
        messages: 500,
    };

    /// To see whether everything works.
    pub(crate) const QUICK: Self = Self {
        is_quick: true,
        talkers: 450,
        members: 40,
        big_rooms: 40,
        fans: 200,
        idlers: 1000,
        hosts: 10,
        ramp: 400,
        messages: 200,
    };

    /// For other servers' sake: two users.
    pub(crate) const TWO: Self = Self {
        is_quick: false,
        talkers: 2,
        members: 0,
        big_rooms: 0,
        fans: 0,
        idlers: 0,
        hosts: 0,
        ramp: 0,
        messages: 0,
    };
}
