//! Owns the tokens of pages through a room's history. Must never be understood by anyone but this server.

use std::{fmt, str::FromStr};

use hearth_protocol::Depth;
use hearth_store::Position;

/// A cut between two events of a room, in the order of depth and position: just after the events at or below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The depth of the event before the cut.
    pub depth: Depth,
    /// Its position.
    pub position: Position,
}

impl Place {
    /// Before every event.
    pub const START: Self = Self {
        depth: Depth(0),
        position: Position::ZERO,
    };

    /// After every event that there will ever be.
    pub const END: Self = Self {
        depth: Depth::MAX,
        position: Position::MAX,
    };

    /// The cut just before the event at this place.
    #[must_use]
    pub fn before(self) -> Self {
        Self {
            depth: self.depth,
            position: Position(self.position.0.saturating_sub(1)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}_{}", self.depth.0, self.position.0)
    }
}

/// The text is not one of [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of this server")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (depth, position) = text
            .strip_prefix('t')
            .and_then(|rest| rest.split_once('_'))
            .ok_or(NoPlace)?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| NoPlace);
        let place = Self {
            depth: Depth(number(depth)?),
            position: Position(number(position)?),
        };
        (place <= Self::END && place.position <= Position::MAX)
            .then_some(place)
            .ok_or(NoPlace)
    }
}
