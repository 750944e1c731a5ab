//! RocksDB: the engine of a single node.
