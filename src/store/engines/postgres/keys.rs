//! Keys of any length in a database whose indexes take none longer than 2,700 bytes.
//!
//! A key of up to [`VERBATIM`] bytes is stored as it is. Of a longer one the beginning is, then its SHA-256, and the whole
//! key stands before the value. So keys sort as they are, but for long ones that begin alike: those stand together, and a scan
//! reads all of them to put them in order.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// The longest key that is stored as it is.
const VERBATIM: usize = 1968;

/// How long every other key is, as stored.
const LONG: usize = VERBATIM + 32;

/// How `key` is stored.
pub(super) fn stored(key: &[u8]) -> Cow<'_, [u8]> {
    match key.get(..VERBATIM) {
        Some(start) if key.len() > VERBATIM => {
            Cow::Owned([start, &Sha256::digest(key)[..]].concat())
        }
        _ => Cow::Borrowed(key),
    }
}

/// Whether a stored key is of a long one.
pub(super) fn is_long(stored_key: &[u8]) -> bool {
    stored_key.len() == LONG
}

/// A range of stored keys that holds all keys of `range`, and such as begin like one of its ends where that is long.
pub(super) fn around(range: &Range<Vec<u8>>) -> Range<Vec<u8>> {
    let low = range.start.get(..VERBATIM).unwrap_or(&range.start);
    let high = match range.end.get(..VERBATIM) {
        Some(start) if range.end.len() > VERBATIM => after(start),
        _ => range.end.clone(),
    };
    low.to_vec()..high
}

/// The stored keys that begin like the long one of `stored_key`.
pub(super) fn alike(stored_key: &[u8]) -> Range<Vec<u8>> {
    let start = stored_key.get(..VERBATIM).unwrap_or(stored_key);
    start.to_vec()..after(start)
}

/// Above every key that is stored with this beginning: their rest is shorter.
fn after(start: &[u8]) -> Vec<u8> {
    [start, &[0xFF; LONG - VERBATIM + 1]].concat()
}

/// Whether both ends of `range` are stored as they are, so that the range is the same for stored keys.
pub(super) fn is_exact(range: &Range<Vec<u8>>) -> bool {
    range.start.len() <= VERBATIM && range.end.len() <= VERBATIM
}

/// How `value` is stored under `key`.
pub(super) fn wrapped<'a>(key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
    if key.len() <= VERBATIM {
        return Cow::Borrowed(value);
    }
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    Cow::Owned([&length.to_be_bytes(), key, value].concat())
}

/// The key and the value of a stored pair.
pub(super) fn unwrapped<'a>(
    stored_key: &'a [u8],
    stored_value: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), Error> {
    if !is_long(stored_key) {
        return Ok((stored_key, stored_value));
    }
    let split = || {
        let (length, rest) = stored_value.split_first_chunk::<4>()?;
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    };
    split().ok_or_else(|| Error::Corrupt("a record with a long key is damaged".to_owned()))
}

/// The value that is stored under `key`, as it was put.
pub(super) fn value(key: &[u8], stored_value: &[u8]) -> Result<Bytes, Error> {
    let stored_key = stored(key);
    let (_, value) = unwrapped(&stored_key, stored_value)?;
    Ok(Bytes::copy_from_slice(value))
}
