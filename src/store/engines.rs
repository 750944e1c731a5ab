//! The engines. Each is a folder that fulfils [`crate::Engine`] and is known nowhere else.

pub mod rocksdb;
