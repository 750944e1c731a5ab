//! Owns the tokens of `/sync`: what a client has seen, in a form that only this server understands. Must never mean a hint:
//! a token is made from the position of a view.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::{fmt, str::FromStr};

use hearth_rooms::TypingStamp;
use hearth_store::Position;
use hearth_users::PresenceStamp;
use serde::{Serialize, Serializer};

/// What a client has seen: `h1_<position>_<typing stamp>`, and `_<position>` of its messages to the device where those
/// lag behind, because there were more than one answer holds, or a stamp of presence follows: `_<presence stamp>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// Everything at or below it in the log.
    pub position: Position,
    /// Every change of who is typing at or below it.
    pub typed: TypingStamp,
    /// Every message to the device at or below it; never above `position`.
    pub to_device: Position,
    /// Every announcement of presence at or below it.
    pub present: PresenceStamp,
}

/// The text is not a token of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of this server")]
pub struct NoToken;

impl Token {
    /// Everything up to `position`, without what is ephemeral: where a page through a room's history starts.
    #[must_use]
    pub fn at(position: Position) -> Self {
        Self {
            position,
            typed: TypingStamp::default(),
            to_device: position,
            present: PresenceStamp::default(),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h1_{}_{}", self.position, self.typed.0)?;
        let has_present = self.present != PresenceStamp::default();
        if self.to_device < self.position || has_present {
            write!(f, "_{}", self.to_device)?;
        }
        if has_present {
            write!(f, "_{}", self.present.0)?;
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let mut parts = text.strip_prefix("h1_").ok_or(NoToken)?.split('_');
        let position = Position(number(parts.next())?);
        let typed = TypingStamp(number(parts.next())?);
        let to_device = match parts.next() {
            None => position,
            lagging => Position(number(lagging)?),
        };
        let present = match parts.next() {
            None => PresenceStamp::default(),
            stamp => PresenceStamp(number(stamp)?),
        };
        let fits = position <= Position::MAX && to_device <= position && parts.next().is_none();
        fits.then_some(Self {
            position,
            typed,
            to_device,
            present,
        })
        .ok_or(NoToken)
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Digits only: a sign, which the parser of numbers would take, is refused.
fn number(digits: Option<&str>) -> Result<u64, NoToken> {
    let digits = digits.ok_or(NoToken)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NoToken);
    }
    digits.parse().map_err(|_| NoToken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strangers_are_refused() {
        for text in [
            "",
            "h1",
            "h1_",
            "h1_1",
            "h1_1_",
            "h1__1",
            "h1_+1_2",
            "h1_-1_2",
            "h1_1_2_3",
            "h2_1_2",
            "s1_2",
            "h1_1_2 ",
            "h1_18446744073709551616_0",
            "h1_9223372036854775808_0",
            "t1_2",
            "h1_1_2_",
            "h1_4_2_3_",
            "h1_4_2_3_1_1",
        ] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(h1_)?[h0-9_+t ]{0,40}", other in ".*") {
            let _ = text.parse::<Token>();
            let _ = other.parse::<Token>();
        }

        #[test]
        fn a_token_survives_its_text(
            position in 0..u64::MAX / 2,
            typed: u64,
            lag in 0..9_u64,
            present: u64,
        ) {
            let token = Token {
                position: Position(position),
                typed: TypingStamp(typed),
                to_device: Position(position.saturating_sub(lag)),
                present: PresenceStamp(present),
            };
            prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
        }
    }
}
