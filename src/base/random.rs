//! Randomness. Everything that needs it takes an [`Rng`], so that a test can repeat what it saw from a seed.
//!
//! This file owns the only use of the operating system's generator; `clippy.toml` bans it elsewhere.

use std::sync::{Mutex, PoisonError};

#[allow(
    clippy::disallowed_types,
    reason = "the one place that uses the generator"
)]
use rand::rngs::SysRng;
use rand::{RngExt as _, SeedableRng as _, TryRng as _, rngs::StdRng};

/// The letters of opaque identifiers: unreserved in URLs and valid in every Matrix identifier.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A source of random bytes that is good enough for secrets.
pub trait Rng: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// An opaque string of `length` letters and digits (5.95 bits each).
    fn opaque(&self, length: usize) -> String {
        let mut out = String::with_capacity(length);
        let mut pool = [0; 64];
        while out.len() < length {
            self.fill(&mut pool);
            // 248 = 4 * 62: larger bytes would favour the first letters.
            let letters = pool
                .iter()
                .filter(|b| **b < 248)
                .map(|b| LETTERS[usize::from(*b) % 62]);
            out.extend(letters.map(char::from).take(length - out.len()));
        }
        out
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        // A system without entropy cannot make a single secret: nothing sensible is left to do.
        #[allow(clippy::expect_used, clippy::disallowed_types)]
        SysRng
            .try_fill_bytes(bytes)
            .expect("the operating system gives random bytes");
    }
}

/// Repeats itself from its seed; for tests only.
#[derive(Debug)]
pub struct SeededRng(Mutex<StdRng>);

impl SeededRng {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_strings_have_their_length_and_differ() {
        let rng = SeededRng::new(1);
        let (a, b) = (rng.opaque(43), rng.opaque(43));
        assert_eq!(a.len(), 43);
        assert_ne!(a, b);
        assert!(a.bytes().all(|c| c.is_ascii_alphanumeric()));
    }
}
