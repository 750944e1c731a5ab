//! Owns the short-lived secrets of an account that need no disk: nonces of the administrator's registration, and tokens by
//! which a user proves to a third party who they are or logs a new device in. Must never accept a nonce or a login twice.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#openid>

use std::time::Duration;

use bytes::Bytes;
use hearth_store::Lifetime;
use ruma::{OwnedUserId, UserId};

use crate::{Error, Users, authentication::fingerprint};

const NONCE_LIFETIME: Lifetime = Lifetime(60_000);

/// How long a token of [`Users::issue_login_token`] is good.
const LOGIN_LIFETIME: Duration = Duration::from_secs(120);

/// How long a token of [`Users::openid_token`] is good.
const OPENID_LIFETIME: Duration = Duration::from_secs(3600);

impl Users {
    /// A nonce for one registration with the shared secret, good for a minute.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn issue_nonce(&self) -> Result<String, Error> {
        let nonce = self.rng.opaque(43);
        let key = format!("nonce:{nonce}");
        self.store
            .hints()
            .put(&key, Bytes::new(), NONCE_LIFETIME)
            .await?;
        Ok(nonce)
    }

    /// Whether `nonce` was issued and not spent yet; it is now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn spend_nonce(&self, nonce: &str) -> Result<bool, Error> {
        let taken = self.store.hints().take(&format!("nonce:{nonce}")).await?;
        Ok(taken.is_some())
    }

    /// A token with which a new device of `user` logs in, once, and how long it is good.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn issue_login_token(&self, user: &UserId) -> Result<(String, Duration), Error> {
        let token = self.rng.opaque(43);
        let millis = u64::try_from(LOGIN_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let value = Bytes::copy_from_slice(user.as_str().as_bytes());
        self.store
            .hints()
            .put(&login_key(&token), value, Lifetime(millis))
            .await?;
        Ok((token, LOGIN_LIFETIME))
    }

    /// Whom a token of [`Users::issue_login_token`] logs in; `None` if unknown, expired or spent. It is spent now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn spend_login_token(&self, token: &str) -> Result<Option<OwnedUserId>, Error> {
        let found = self.store.hints().take(&login_key(token)).await?;
        Ok(found.and_then(|bytes| UserId::parse(std::str::from_utf8(&bytes).ok()?).ok()))
    }

    /// A token that proves to a third party who `user` is, and how long it is good.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn openid_token(&self, user: &UserId) -> Result<(String, Duration), Error> {
        let token = self.rng.opaque(43);
        let millis = u64::try_from(OPENID_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let value = Bytes::copy_from_slice(user.as_str().as_bytes());
        self.store
            .hints()
            .put(&openid_key(&token), value, Lifetime(millis))
            .await?;
        Ok((token, OPENID_LIFETIME))
    }

    /// Whom a token of [`Users::openid_token`] belongs to; `None` if unknown or expired.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn openid_user(&self, token: &str) -> Result<Option<OwnedUserId>, Error> {
        let found = self.store.hints().get(&openid_key(token)).await?;
        Ok(found.and_then(|bytes| UserId::parse(std::str::from_utf8(&bytes).ok()?).ok()))
    }
}

fn login_key(token: &str) -> String {
    format!("login:{}", fingerprint(token).hex())
}

fn openid_key(token: &str) -> String {
    format!("openid:{}", fingerprint(token).hex())
}
