//! Order-preserving keys and compact values: how typed records become bytes and come back.
//!
//! Keys are tuples of parts. Compared byte by byte, encoded keys sort as the tuples do, so that a scan over a
//! prefix of the tuple is a scan over a range of bytes. Values use the same parts, or JSON, or bytes as they are.
//! Nothing here reads or writes a store.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use smallvec::SmallVec;

use crate::{Error, Position, batch::Slot};

/// Where in an encoded key or value the position of a slot belongs, once the commit has assigned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Offset of the eight bytes.
    pub offset: u32,
    /// Whose position.
    pub slot: Slot,
}

/// Bytes under construction, and the places in them that wait for a position.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
    /// Eight-byte gaps for positions that the commit assigns.
    pub patches: SmallVec<[Patch; 1]>,
}

impl Writer {
    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a string so that it sorts before every string it is a prefix of: NUL is escaped, the end is marked.
    pub fn text(&mut self, text: &[u8]) {
        self.bytes.reserve(text.len() + 2);
        let mut rest = text;
        while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
            let (piece, tail) = rest.split_at(zero + 1);
            self.bytes.extend_from_slice(piece);
            self.bytes.push(0xFF);
            rest = tail;
        }
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(&[0, 0]);
    }

    /// Appends a position, or the gap for one that the commit assigns.
    pub fn position(&mut self, position: Position) {
        if let Some(slot) = position.slot() {
            // A key or value of 4 GiB is refused long before by the limits of the batch.
            let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
            self.patches.push(Patch { offset, slot });
        }
        self.raw(&position.0.to_be_bytes());
    }
}

/// Bytes being read back.
#[derive(Clone, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes `n` bytes. Fails when there are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        if n > self.0.len() {
            return Err(Error::Corrupt(
                "a stored record is shorter than its form".to_owned(),
            ));
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Takes `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// Takes a string that [`Writer::text`] wrote.
    pub fn text(&mut self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        loop {
            // Nearly always the end mark is the first zero, so that the string is copied at once.
            let zero = self.0.iter().position(|byte| *byte == 0);
            let piece = self.take(zero.unwrap_or(self.0.len() + 1))?;
            out.extend_from_slice(piece);
            match self.take(2)? {
                [_, 0] => return Ok(out),
                _ => out.push(0),
            }
        }
    }

    /// Fails when something is left over.
    pub fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Error::Corrupt(
            "a stored record is longer than its form".to_owned(),
        ))
    }
}

/// A part of a key or value: written so that the order of bytes is the order of the parts.
pub trait Part {
    /// Appends this part.
    fn write(&self, w: &mut Writer);
}

/// A part that can be read back.
pub trait ReadPart: Sized {
    /// Takes this part off the front.
    fn read(r: &mut Reader<'_>) -> Result<Self, Error>;
}

impl Part for str {
    fn write(&self, w: &mut Writer) {
        w.text(self.as_bytes());
    }
}

impl Part for String {
    fn write(&self, w: &mut Writer) {
        w.text(self.as_bytes());
    }
}

impl ReadPart for String {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        String::from_utf8(r.text()?)
            .map_err(|_| Error::Corrupt("a stored string is not UTF-8".to_owned()))
    }
}

impl Part for Position {
    fn write(&self, w: &mut Writer) {
        w.position(*self);
    }
}

impl ReadPart for Position {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self(u64::from_be_bytes(r.array()?)))
    }
}

impl Part for u64 {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.to_be_bytes());
    }
}

impl ReadPart for u64 {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::from_be_bytes(r.array()?))
    }
}

impl Part for u32 {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.to_be_bytes());
    }
}

impl ReadPart for u32 {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::from_be_bytes(r.array()?))
    }
}

impl Part for u8 {
    fn write(&self, w: &mut Writer) {
        w.raw(&[*self]);
    }
}

impl ReadPart for u8 {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(r.array::<1>()?[0])
    }
}

impl<const N: usize> Part for [u8; N] {
    fn write(&self, w: &mut Writer) {
        w.raw(self);
    }
}

impl<const N: usize> ReadPart for [u8; N] {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        r.array()
    }
}

impl Part for () {
    fn write(&self, _: &mut Writer) {}
}

impl ReadPart for () {
    fn read(_: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(())
    }
}

impl<T: Part + ?Sized> Part for &T {
    fn write(&self, w: &mut Writer) {
        (**self).write(w);
    }
}

macro_rules! tuple_parts {
    ($($name:ident),+) => {
        impl<$($name: Part),+> Part for ($($name,)+) {
            fn write(&self, w: &mut Writer) {
                #[allow(non_snake_case)]
                let ($($name,)+) = self;
                $($name.write(w);)+
            }
        }

        impl<$($name: ReadPart),+> ReadPart for ($($name,)+) {
            fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
                Ok(($($name::read(r)?,)+))
            }
        }
    };
}

tuple_parts!(A);
tuple_parts!(A, B);
tuple_parts!(A, B, C);
tuple_parts!(A, B, C, D);
tuple_parts!(A, B, C, D, E);

/// A value as JSON: for records that grow new optional fields over time. Not for the hot path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> Part for Json<T> {
    fn write(&self, w: &mut Writer) {
        // Our records are plain structs with string keys, which serialise; one that does not reads back as corrupt.
        if let Err(error) = serde_json::to_writer(&mut w.bytes, &self.0) {
            tracing::error!(%error, "a record does not serialise");
        }
    }
}

impl<T: DeserializeOwned> ReadPart for Json<T> {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        serde_json::from_slice(r.rest()).map(Self).map_err(|e| {
            Error::Corrupt(format!("a stored record is not the JSON it should be: {e}"))
        })
    }
}

/// A value as bytes, without an end mark: takes all that is left, so only as the last part.
impl Part for Bytes {
    fn write(&self, w: &mut Writer) {
        w.raw(self);
    }
}

impl ReadPart for Bytes {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::copy_from_slice(r.rest()))
    }
}

/// Encodes parts that hold no pending position.
pub fn encode(parts: &(impl Part + ?Sized)) -> Vec<u8> {
    let mut w = Writer::default();
    parts.write(&mut w);
    w.bytes
}

/// Decodes parts, all of them.
pub fn decode<T: ReadPart>(bytes: &[u8]) -> Result<T, Error> {
    let mut r = Reader(bytes);
    let out = T::read(&mut r)?;
    r.end()?;
    Ok(out)
}

/// For values, of counters above all. Not for keys: as bytes, negative numbers come after the others.
impl Part for i64 {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.to_be_bytes());
    }
}

impl ReadPart for i64 {
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::from_be_bytes(r.array()?))
    }
}
