//! How RocksDB is set up: little memory when fresh, a bound on all of it, and each family laid out for its use.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, LruCacheOptions,
    Options, WriteBufferManager, statistics::StatsLevel,
};

use crate::Family;

const MIB: usize = 1 << 20;

/// When a memtable is written out, in bytes.
const MEMTABLE: usize = 8 * MIB;

/// A memtable grows in steps of this many bytes.
const MEMTABLE_STEP: usize = 128 << 10;

/// The write-ahead logs together; past it the memtables that hold them up are written out. Bounds the time to open.
const LOG_TOTAL: u64 = 64 << 20;

/// How many table files are open at most.
const OPEN_FILES: i32 = 512;

/// The options of the database and of its families, which share a cache of `memory` bytes with the memtables.
pub(super) fn tuned(memory: usize) -> (Options, Vec<ColumnFamilyDescriptor>) {
    let mut sizes = LruCacheOptions::default();
    sizes.set_capacity(memory);
    // Few shards: a small cache in many shards loses large blocks.
    sizes.set_num_shard_bits(2);
    let cache = Cache::new_lru_cache_opts(&sizes);
    let memtables = (memory / 4).max(2 * MEMTABLE);
    let buffers =
        WriteBufferManager::new_write_buffer_manager_with_cache(memtables, false, cache.clone());
    let families = Family::ALL
        .iter()
        .map(|family| ColumnFamilyDescriptor::new(family.name(), layout(*family, &cache)))
        .collect();
    (database(&buffers), families)
}

fn database(buffers: &WriteBufferManager) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(buffers);
    options.set_max_total_wal_size(LOG_TOTAL);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_file_opening_threads(2);
    options.set_table_cache_num_shard_bits(4);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(MIB as u64);
    options.set_max_manifest_file_size(16 * MIB);
    options.set_manifest_preallocation_size(64 << 10);
    options.set_skip_stats_update_on_db_open(true);
    options.set_avoid_unnecessary_blocking_io(true);
    // RocksDB's own journal of what it does, for a bug report.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(MIB);
    // Counters only: no histogram, no timer, nothing dumped or kept.
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    memtable(&mut options);
    options
}

fn memtable(options: &mut Options) {
    options.set_write_buffer_size(MEMTABLE);
    options.set_arena_block_size(MEMTABLE_STEP);
    options.set_max_write_buffer_number(3);
}

fn layout(family: Family, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_format_version(6);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);

    let mut options = Options::default();
    memtable(&mut options);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_target_file_size_base(32 << 20);
    options.set_max_bytes_for_level_base(128 << 20);
    match family {
        // Found by exact key and often asked for in vain (is this event known?): a bloom filter of whole keys
        // answers without the disk.
        Family::Immutable => {
            blocks.set_block_size(8 << 10);
            blocks.set_bloom_filter(10.0, false);
            blocks.set_whole_key_filtering(true);
        }
        // Rewritten often: small blocks waste little cache on the neighbours of what is wanted.
        Family::Records => {
            blocks.set_block_size(4 << 10);
            blocks.set_bloom_filter(10.0, false);
            blocks.set_whole_key_filtering(true);
        }
        // Neighbours share most of their keys: keys are stored as differences to the one before, written out in full
        // every 32nd time only. Scans are never answered by a bloom filter.
        Family::Index => {
            blocks.set_block_size(16 << 10);
            blocks.set_block_restart_interval(32);
            sweep_deleted(&mut options);
        }
        Family::Log => {
            blocks.set_block_size(16 << 10);
            sweep_deleted(&mut options);
        }
    }
    options.set_block_based_table_factory(&blocks);
    options
}

/// A queue that was trimmed, or an index that was rebuilt, leaves markers of deletion that a scan has to step over:
/// files where half of a stretch of a thousand entries are such markers are compacted soon.
fn sweep_deleted(options: &mut Options) {
    options.add_compact_on_deletion_collector_factory(1024, 512, 0.5);
}
