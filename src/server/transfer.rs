//! Bringing a whole store to another place: back from a backup, or over to another engine.
//!
//! Must never overwrite anything, nor touch a store that a server uses.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
};

use hearth_base::{
    Clock as _, SystemClock, SystemRng,
    config::{Config, Secret},
};
use hearth_store::{
    MemoryHints, Store,
    engines::{postgres, rocksdb},
    migrate::{self, Progress, Stage},
};

use crate::{Error, control, identity, storage};

/// How wide the bar is.
const BAR: u64 = 40;

/// Brings the newest backup of `folder` back to where `config` says that the database is, and the key.
pub(crate) async fn restore(config: &Config, folder: &Path) -> Result<String, Error> {
    let (key, saved) = (
        &config.server.signing_key_file,
        folder.join(control::SAVED_KEY),
    );
    if key.exists() {
        return Err(Error::refused(format!(
            "{} exists, and nothing is overwritten: move it away first",
            key.display()
        )));
    }
    let from = folder.join(control::SAVED_STORE);
    let place = match &config.store.url {
        Some(url) => {
            let options = storage::shared(config, url);
            postgres::restore(&from, &options, Arc::new(SystemRng)).await?;
            "`store.url`".to_owned()
        }
        None => {
            identity::make_private_folder(&config.store.path)?;
            rocksdb::restore(&from, &config.store.path)?;
            config.store.path.display().to_string()
        }
    };
    identity::make_private_folder(key)?;
    std::fs::copy(&saved, key)
        .map_err(|e| Error::io(format!("cannot copy {}", saved.display()), e))?;
    Ok(format!(
        "restored the database to {place} and the key to {}",
        key.display()
    ))
}

/// Copies the store of `config` into the empty one at `to`, the address of a PostgreSQL or a folder.
pub(crate) async fn migrate(config: &Config, to: &str) -> Result<String, Error> {
    let mut target = config.clone();
    if to.starts_with("postgres://") || to.starts_with("postgresql://") {
        target.store.url = Some(Secret::new(to));
    } else {
        target.store.url = None;
        target.store.path = to.into();
    }
    let (old, new) = (open(config).await?, open(&target).await?);
    let mut bar = Bar::default();
    let copied = migrate::copy(&old, &new, &mut |progress| bar.show(progress)).await;
    bar.end();
    // The copy's own failure says more than that of closing after it.
    let closed = (old.engine().close().await, new.engine().close().await);
    let copied = copied?;
    closed.0?;
    closed.1?;
    let next = match target.store.url {
        Some(_) => "set `store.url` to the new place",
        None => "set `store.path` to the new place and remove `store.url`",
    };
    Ok(format!(
        "copied and compared {} records up to position {}, sum {}\n{next} before the server is started",
        copied.records, copied.position, copied.sum
    ))
}

async fn open(config: &Config) -> Result<Store, Error> {
    let engine = storage::engine(config, &(Arc::new(SystemRng) as _)).await?;
    let hints = MemoryHints::new(|| SystemClock.now().0);
    Ok(Store::new(engine, Arc::new(hints)))
}

/// A bar on a terminal; elsewhere a line for every tenth.
#[derive(Default)]
struct Bar {
    shown: Option<(Stage, u64)>,
    terminal: bool,
}

impl Bar {
    fn show(&mut self, progress: Progress) {
        let Progress {
            stage,
            records,
            total,
        } = progress;
        let name = match stage {
            Stage::Counting => "counting",
            Stage::Copying => "copying",
            Stage::Comparing => "comparing",
        };
        let mut out = std::io::stderr();
        self.terminal = out.is_terminal();
        let parts = if self.terminal { BAR } else { 10 };
        // While it is counted there is no whole to be a part of: then a mark for every 50,000.
        let part = match total {
            0 => records / 50_000,
            _ => (records.min(total)) * parts / total,
        };
        if self.shown == Some((stage, part)) {
            return;
        }
        let begins = self.shown.is_some_and(|(before, _)| before != stage);
        self.shown = Some((stage, part));
        let end = if self.terminal { "" } else { "\n" };
        let start = match (self.terminal, begins) {
            (true, true) => "\n",
            (true, false) => "\r",
            _ => "",
        };
        let text = match total {
            0 => format!("{name:<10} {records} records"),
            _ => {
                let filled = usize::try_from(part).unwrap_or(0);
                let wide = usize::try_from(parts).unwrap_or(0);
                let percent = u128::from(records) * 100 / u128::from(total);
                format!(
                    "{name:<10} [{}{}] {percent:>3} % {records} of {total}",
                    "#".repeat(filled),
                    " ".repeat(wide.saturating_sub(filled))
                )
            }
        };
        // A terminal that went away does not matter.
        write!(out, "{start}{text}{end}").ok();
        out.flush().ok();
    }

    fn end(&self) {
        if self.terminal && self.shown.is_some() {
            writeln!(std::io::stderr()).ok();
        }
    }
}
