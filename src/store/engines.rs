//! The engines. Each is a folder that fulfils [`crate::Engine`] and is known nowhere else.

mod group;
pub mod postgres;
pub mod rocksdb;
