//! Copies of a store: made while it is in use, checked by restoring.
//!
//! A backup folder holds several backups that share the files they have in common, so that a further one copies only
//! what is new.

use std::{fs, path::Path};

use rocksdb::{
    Env,
    backup::{BackupEngine, BackupEngineOptions, RestoreOptions},
};

use super::{
    Options,
    opened::{Opened, error},
};
use crate::Error;

/// How many backups are kept in a folder.
const KEPT: usize = 7;

/// Adds a backup of now to `target`, which is missing, empty or holds earlier ones. Blocks for as long as it takes.
pub(super) fn take(opened: &Opened, target: &Path) -> Result<(), Error> {
    if !is_empty(target)? && !is_backup(target) {
        return Err(Error::Unavailable(format!(
            "{} is neither empty nor a backup folder",
            target.display()
        )));
    }
    fs::create_dir_all(target)
        .map_err(|e| Error::Unavailable(format!("cannot make {}: {e}", target.display())))?;
    let mut engine = engine(target)?;
    engine
        .create_new_backup_flush(opened.db(), true)
        .map_err(error)?;
    let newest = engine.get_backup_info().into_iter().last();
    if let Some(newest) = newest {
        engine.verify_backup(newest.backup_id).map_err(error)?;
    }
    engine.purge_old_backups(KEPT).map_err(error)
}

/// Restores the newest backup of the folder `from` into the missing or empty folder `to`, and opens it once to
/// see that it is whole. Blocks for as long as it takes.
///
/// # Errors
/// `Unavailable` if `from` holds no backup, `to` holds anything, or the disk fails; `Corrupt` if the backup is damaged.
pub fn restore(from: &Path, to: &Path) -> Result<(), Error> {
    if !is_backup(from) {
        return Err(Error::Unavailable(format!(
            "{} holds no backup",
            from.display()
        )));
    }
    if !is_empty(to)? {
        return Err(Error::Unavailable(format!(
            "{} is not empty, and nothing is overwritten",
            to.display()
        )));
    }
    // Checks the sum of every file that it copies.
    engine(from)?
        .restore_from_latest_backup(to, to, &RestoreOptions::default())
        .map_err(error)?;
    let opened = Opened::open(&Options::at(to))?;
    opened.head().map(drop)
}

fn engine(folder: &Path) -> Result<BackupEngine, Error> {
    let options = BackupEngineOptions::new(folder).map_err(error)?;
    let env = Env::new().map_err(error)?;
    BackupEngine::open(&options, &env).map_err(error)
}

fn is_backup(folder: &Path) -> bool {
    folder.join("meta").is_dir()
}

fn is_empty(folder: &Path) -> Result<bool, Error> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Error::Unavailable(format!(
            "cannot read {}: {e}",
            folder.display()
        ))),
    }
}
