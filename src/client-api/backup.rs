//! Key backup.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#server-side-key-backups>

use hearth_users::{Backup, BackupSize};
use ruma::{UInt, api::client::backup::BackupAlgorithm, serde::Raw};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{error::Error, routes::Routes};

mod add_backup_keys;
mod add_backup_keys_for_room;
mod add_backup_keys_for_session;
mod create_backup_version;
mod delete_backup_keys;
mod delete_backup_keys_for_room;
mod delete_backup_keys_for_session;
mod delete_backup_version;
mod get_backup_info;
mod get_backup_keys;
mod get_backup_keys_for_room;
mod get_backup_keys_for_session;
mod get_latest_backup_info;
mod update_backup_version;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(add_backup_keys::add_backup_keys)
        .user(add_backup_keys_for_room::add_backup_keys_for_room)
        .user(add_backup_keys_for_session::add_backup_keys_for_session)
        .user(create_backup_version::create_backup_version)
        .user(delete_backup_keys::delete_backup_keys)
        .user(delete_backup_keys_for_room::delete_backup_keys_for_room)
        .user(delete_backup_keys_for_session::delete_backup_keys_for_session)
        .user(delete_backup_version::delete_backup_version)
        .user(get_backup_info::get_backup_info)
        .user(get_backup_keys::get_backup_keys)
        .user(get_backup_keys_for_room::get_backup_keys_for_room)
        .user(get_backup_keys_for_session::get_backup_keys_for_session)
        .user(get_latest_backup_info::get_latest_backup_info)
        .user(update_backup_version::update_backup_version)
}

/// The number of keys, in the form of the answers.
fn count(size: &BackupSize) -> UInt {
    UInt::try_from(size.count).unwrap_or(UInt::MAX)
}

/// What a client said of a version when it made or updated it, in the form of the answers.
fn description(backup: &Backup) -> Result<Raw<BackupAlgorithm>, Error> {
    #[derive(Serialize)]
    struct Description<'a> {
        algorithm: &'a str,
        auth_data: &'a RawValue,
    }
    let description = Description {
        algorithm: &backup.algorithm,
        auth_data: &backup.auth_data,
    };
    let json = to_raw_value(&description).map_err(|error| Error::internal(&error))?;
    Ok(Raw::from_json(json))
}
