//! Owns the hashing of passwords: Argon2id, on a bounded number of threads that no request waits on. Must never show whether an
//! account exists by how long it takes, nor keep a password.

use std::sync::{Arc, OnceLock};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{Error, Limits};

/// Longer passwords are refused before anything is computed.
pub(crate) const MAX_BYTES: usize = 1024;

const SALT_BYTES: usize = 16;

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    threads: Arc<Semaphore>,
    /// Those who wait and those who work.
    places: Arc<Semaphore>,
    params: Params,
    /// What an unknown user's password is compared with.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    pub(crate) fn new(limits: &Limits) -> Self {
        let threads = limits.password_threads.max(1);
        let params = Params::new(
            limits.password_memory_kib,
            limits.password_passes,
            1,
            Some(32),
        );
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads + limits.password_queue)),
            params: params.unwrap_or_default(),
            decoy: Arc::default(),
        }
    }

    /// The hash to store, which names its own parameters and salt.
    pub(crate) async fn hash(
        &self,
        password: String,
        salt: [u8; SALT_BYTES],
    ) -> Result<String, Error> {
        let params = self.params.clone();
        self.work(move || hash(params, password.as_bytes(), &salt))
            .await?
    }

    /// Whether `password` is the one behind `stored`. Without a stored hash it is not, after as much work.
    pub(crate) async fn check(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, Error> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        let params = self.params.clone();
        let decoy = self.decoy.clone();
        self.work(move || {
            let (known, stored) = match stored {
                Some(stored) => (true, stored),
                None => (false, decoy_hash(&decoy, params)),
            };
            let Ok(parsed) = PasswordHash::new(&stored) else {
                return false;
            };
            let matches = Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok();
            known && matches
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Busy)?;
        let thread = self
            .threads
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Busy)?;
        // The permits move along: a caller who gives up does not make room for a further thread.
        let done = tokio::task::spawn_blocking(move || {
            let _held = (place, thread);
            work()
        });
        done.await.map_err(|_| Error::Busy)
    }
}

fn decoy_hash(decoy: &OnceLock<String>, params: Params) -> String {
    decoy
        .get_or_init(|| hash(params, b"nobody's", &[0; SALT_BYTES]).unwrap_or_default())
        .clone()
}

fn hash(params: Params, password: &[u8], salt: &[u8]) -> Result<String, Error> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2
        .hash_password_with_salt(password, salt)
        .map_err(|error| {
            tracing::error!(%error, "a password cannot be hashed");
            Error::Busy
        })?;
    Ok(hash.to_string())
}
