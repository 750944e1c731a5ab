//! The signing key, made at the first start, and the server name to which a store belongs. Must never overwrite a key.
//!
//! Specification: <https://spec.matrix.org/latest/appendices/#signing-details>

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use hearth_base::Rng;
use hearth_protocol::SigningKey;
use hearth_store::{Batch, CommitError, Family, Json, Store, Table};
use ruma::ServerName;

use crate::Error;

/// The server name of this store.
const NAME: Table<(), Json<String>> = Table::new(200, "server_name", Family::Records);

/// A key file is one line.
const LONGEST_KEY_FILE: u64 = 64 << 10;

/// The key in `file`, made first if there is none. Blocks.
///
/// # Errors
/// If the file cannot be read or written, or holds no key.
pub(crate) fn signing_key(
    file: &Path,
    name: &ServerName,
    rng: &dyn Rng,
) -> Result<SigningKey, Error> {
    match read(file, name)? {
        Some(key) => Ok(key),
        None => make(file, name, rng),
    }
}

/// The key in `file`; nothing if there is no file.
fn read(file: &Path, name: &ServerName) -> Result<Option<SigningKey>, Error> {
    match OpenOptions::new().read(true).open(file) {
        Ok(open) => {
            let mut text = String::new();
            open.take(LONGEST_KEY_FILE)
                .read_to_string(&mut text)
                .map_err(|e| Error::io(format!("cannot read {}", file.display()), e))?;
            SigningKey::from_text(name, &text)
                .map(Some)
                .map_err(|e| Error::refused(format!("{}: {e}", file.display())))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("cannot open {}", file.display()), e)),
    }
}

/// A new key, kept nowhere.
pub(crate) fn new_key(name: &ServerName, rng: &dyn Rng) -> Result<SigningKey, Error> {
    let mut seed = [0; 32];
    rng.fill(&mut seed);
    SigningKey::generate(name, &format!("ed25519:a_{}", rng.opaque(4)), seed)
        .map_err(|e| Error::refused(e.to_string()))
}

fn make(file: &Path, name: &ServerName, rng: &dyn Rng) -> Result<SigningKey, Error> {
    let key = new_key(name, rng)?;
    let failed = |e| Error::io(format!("cannot make {}", file.display()), e);
    make_private_folder(file)?;
    // Whoever reads it finds the whole key: it gets its name once it is written. Of several nodes that make one, one succeeds.
    let draft = file.with_extension(format!("new-{}", rng.opaque(8)));
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    let written = new
        .write_all(key.to_text().as_bytes())
        .and_then(|()| new.sync_all())
        .and_then(|()| std::fs::hard_link(&draft, file));
    std::fs::remove_file(&draft).map_err(failed)?;
    match written {
        Ok(()) => {
            tracing::info!(file = %file.display(), key = %key.id(), "made the signing key");
            Ok(key)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => read(file, name)?
            .ok_or_else(|| Error::refused(format!("{} was there and is gone", file.display()))),
        Err(e) => Err(failed(e)),
    }
}

/// Makes the folder of `file` if there is none, closed to other users. Blocks.
pub(crate) fn make_private_folder(file: &Path) -> Result<(), Error> {
    let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io(format!("cannot make {}", folder.display()), e))
}

/// Gives a new store the server's name, and refuses the store of another name: its users and events carry it. Whether it is new.
pub(crate) async fn claim(store: &Store, name: &ServerName) -> Result<bool, Error> {
    match is_made(store, name).await? {
        Some(made) => Ok(made),
        // Another node made it at this moment.
        None => is_made(store, name)
            .await?
            .ok_or_else(|| Error::refused("other nodes change the store all the time: try again")),
    }
}

/// As [`claim`]; nothing if another node was faster.
async fn is_made(store: &Store, name: &ServerName) -> Result<Option<bool>, Error> {
    let view = store.view().await?;
    match view.get(&NAME, ()).await? {
        Some(Json(known)) if known == name.as_str() => Ok(Some(false)),
        Some(Json(known)) => Err(Error::refused(format!(
            "this store belongs to the server {known}, and `server.name` says {name}: set the name back, or use another \
             `store.path`"
        ))),
        None => {
            let mut batch = Batch::new();
            // The log begins here, so that position zero always means to have seen nothing.
            batch.position();
            // Of several nodes that begin at once, one makes the store.
            batch.assert_absent(&NAME, ());
            batch.put(&NAME, (), Json(name.to_string()));
            match store.commit(batch).await {
                Ok(_) => Ok(Some(true)),
                Err(CommitError::Conflict) => Ok(None),
                Err(CommitError::Failed(error)) => Err(error.into()),
            }
        }
    }
}
