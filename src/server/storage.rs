//! Opening the store that the configuration names: a folder of this server alone, or a database that several share.
//!
//! Owns which engine and which hints there are. Must never make a signing key for a store that has one elsewhere.

use std::{path::Path, sync::Arc, time::Duration};

use hearth_base::{
    Clock, Rng,
    config::{Config, Durability, Secret},
};
use hearth_protocol::SigningKey;
use hearth_store::{
    Engine, Hints, MemoryHints, RedisHints, Replay, Store,
    engines::{postgres, rocksdb},
    hints::redis,
    migrate,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::{
    Error, identity,
    upgrade::{self, Schema},
};

/// Threads for reads that are not in memory.
const READERS: usize = 4;

/// How long the file of the signing key is waited for, and how often it is looked for.
const KEY_PATIENCE: Duration = Duration::from_secs(3);
const KEY_LOOK: Duration = Duration::from_millis(50);

/// An open store.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) key: SigningKey,
    /// Makes lost hints good, for as long as it is kept.
    pub(crate) replay: Arc<Replay>,
}

/// Opens the store, and the signing key that belongs to it.
pub(crate) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
    schema: Schema,
) -> Result<Opened, Error> {
    let engine = engine(config, rng).await?;
    let hints = hints(config, clock, &**rng)?;
    let replay = Arc::new(Replay::start(engine.clone(), hints.clone()));
    let store = Store::new(engine, hints);
    if migrate::is_unfinished(&store.view().await?).await? {
        return Err(Error::refused(
            "the database is a copy that was not finished: let `hearth migrate` finish it",
        ));
    }
    let is_new = identity::claim(&store, &config.server.name).await?;
    upgrade::check(&store.view().await?, schema).await?;
    let file = config.server.signing_key_file.clone();
    if config.store.url.is_some() && !is_new && !comes(&file).await {
        return Err(Error::refused(format!(
            "{} is missing, and the database belongs to a server that has its key: copy the file from another node",
            file.display()
        )));
    }
    let (name, random) = (config.server.name.clone(), rng.clone());
    let key = spawn_blocking(move || identity::signing_key(&file, &name, &*random))
        .await
        .map_err(|e| Error::refused(format!("the signing key could not be read: {e}")))??;
    Ok(Opened { store, key, replay })
}

/// Opens the store to look at it only: nothing is made or noted.
pub(crate) async fn peek(config: &Config, rng: &Arc<dyn Rng>) -> Result<Store, Error> {
    let engine = engine(config, rng).await?;
    Ok(Store::new(engine, Arc::new(MemoryHints::new(|| 0))))
}

/// Whether the file is there, or comes within a moment: the node that makes the store makes it, and others may begin at the
/// same time in the same folder.
async fn comes(file: &Path) -> bool {
    let begin = Instant::now();
    while !file.exists() {
        if begin.elapsed() > KEY_PATIENCE {
            return false;
        }
        sleep(KEY_LOOK).await;
    }
    true
}

/// The engine that `config` names.
pub(crate) async fn engine(config: &Config, rng: &Arc<dyn Rng>) -> Result<Arc<dyn Engine>, Error> {
    match &config.store.url {
        Some(url) => Ok(postgres::open(shared(config, url), rng.clone()).await?),
        None => folder(config).await,
    }
}

/// How the database that nodes share is used.
pub(crate) fn shared(config: &Config, url: &Secret) -> postgres::Options {
    let mut options = postgres::Options::at(url.reveal());
    options.connections = config.store.connections;
    options.relaxed = config.store.durability == Durability::Relaxed;
    options
}

async fn folder(config: &Config) -> Result<Arc<dyn Engine>, Error> {
    let settings = config.store.clone();
    let opened = spawn_blocking(move || {
        identity::make_private_folder(&settings.path.join("CURRENT"))?;
        let engine = rocksdb::open(rocksdb::Options {
            path: settings.path,
            block_cache_bytes: settings.memory.0 / 2,
            relaxed: settings.durability == Durability::Relaxed,
            readers: READERS,
        })?;
        Ok::<_, Error>(engine)
    });
    let engine = opened
        .await
        .map_err(|e| Error::refused(format!("the store could not be opened: {e}")))??;
    Ok(engine)
}

fn hints(config: &Config, clock: &Arc<dyn Clock>, rng: &dyn Rng) -> Result<Arc<dyn Hints>, Error> {
    let clock = clock.clone();
    let now = move || clock.now().0;
    let Some(url) = &config.redis.url else {
        return Ok(Arc::new(MemoryHints::new(now)));
    };
    let options = redis::Options {
        url: url.reveal().to_owned(),
        prefix: format!("hearth:{}:", config.server.name),
    };
    Ok(Arc::new(RedisHints::start(options, rng, now)?))
}
