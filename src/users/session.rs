//! Owns logging in and out: the tokens of a device. Must never keep a token in the clear, nor leave one behind when its
//! device goes.
//!
//! A refreshed pair of tokens and the pair that it replaces are both good until the new one is used for the first time, so
//! that an answer lost on its way logs nobody out.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#refreshing-access-tokens>

use std::time::Duration;

use hearth_store::{Batch, Direction, Family, Json, SCAN_LIMIT, Seen, Table, View};
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Refusal, Users,
    account::ACCOUNTS,
    authentication::{ACCESS_TOKENS, AccessToken, Fingerprint, Replaced, fingerprint, wake_shard},
    device,
    service::ATTEMPTS,
};

/// Hash of a refresh token to what it refreshes.
const REFRESH_TOKENS: Table<Fingerprint, Json<RefreshToken>> =
    Table::new(19, "refresh_tokens", Family::Records);

/// (user, device, kind, hash): the tokens of a device.
const DEVICE_TOKENS: Table<(String, String, u8, Fingerprint), ()> =
    Table::new(28, "device_tokens", Family::Index);

const ACCESS: u8 = 0;
const REFRESH: u8 = 1;
/// Letters in a token: 256 bits of randomness.
const TOKEN_LENGTH: usize = 43;
const MAX_DEVICE_ID_BYTES: usize = 255;

/// A refresh token as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefreshToken {
    user: OwnedUserId,
    device: OwnedDeviceId,
    /// The access token it was given along with.
    access: Fingerprint,
    /// What it was exchanged for, while that is unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<(Fingerprint, Fingerprint)>,
}

/// How a client wants to be known.
#[derive(Clone, Debug, Default)]
pub struct NewDevice {
    /// The device that it was before; `None`: a new one.
    pub device_id: Option<OwnedDeviceId>,
    /// The name of a new device.
    pub display_name: Option<String>,
    /// Whether the client can refresh its access token.
    pub refreshable: bool,
}

/// What a client gets when it logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who.
    pub user_id: OwnedUserId,
    /// As which device.
    pub device_id: OwnedDeviceId,
    /// The secret it shows with each request.
    pub access_token: String,
    /// The secret it gets the next ones with.
    pub refresh_token: Option<String>,
    /// How long the access token lives; `None`: until logout.
    pub expires_in: Option<Duration>,
}

impl Users {
    /// Logs in with a password.
    ///
    /// # Errors
    /// `Forbidden` for a wrong name or password, `UserDeactivated` for a closed account whatever the password (its hash
    /// is gone), `InvalidParam` for a bad device id, `Busy`.
    pub async fn login(
        &self,
        user: &UserId,
        password: String,
        device: &NewDevice,
    ) -> Result<Login, Error> {
        let view = self.store.view().await?;
        let account = self.account(&view, user).await?;
        if account.as_ref().is_some_and(|account| account.deactivated) {
            let reason = "the account is deactivated";
            return Err(Error::refused(Refusal::UserDeactivated, reason));
        }
        let stored = account
            .as_ref()
            .and_then(|account| account.password.clone());
        let right = self.passwords.check(password, stored).await?;
        let Some(account) = account.filter(|_| right) else {
            return Err(Error::forbidden("the user name or the password is wrong"));
        };
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let now = view.get_seen(&ACCOUNTS, user.as_str()).await?;
            let Some(now) = now.filter(|now| **now == account) else {
                return Err(Error::forbidden("the password was just changed"));
            };
            let mut batch = Batch::new();
            batch.assert_seen(&ACCOUNTS, user.as_str(), &now);
            let login = self.plan_login(&view, &mut batch, user, device).await?;
            if self.try_commit(batch).await?.is_some() {
                return Ok(login);
            }
        }
        Err(Error::Busy)
    }

    /// Logs in a user who has proved otherwise who they are.
    ///
    /// # Errors
    /// `NotFound`, `UserDeactivated`, `InvalidParam` for a bad device id, `Busy`.
    pub async fn login_as(&self, user: &UserId, device: &NewDevice) -> Result<Login, Error> {
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let account = self.active(&view, user).await?;
            let mut batch = Batch::new();
            batch.assert_seen(&ACCOUNTS, user.as_str(), &account);
            let login = self.plan_login(&view, &mut batch, user, device).await?;
            if self.try_commit(batch).await?.is_some() {
                return Ok(login);
            }
        }
        Err(Error::Busy)
    }

    /// Exchanges a refresh token for a new pair.
    ///
    /// # Errors
    /// `UnknownToken` if it is none, or was exchanged and the new pair used.
    pub async fn refresh(&self, token: &str) -> Result<Login, Error> {
        let token = fingerprint(token);
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let Some(old) = view.get_seen(&REFRESH_TOKENS, token).await? else {
                let kind = Refusal::UnknownToken { soft_logout: false };
                return Err(Error::refused(kind, "the refresh token is not known"));
            };
            let mut batch = Batch::new();
            let access = view.get_seen(&ACCESS_TOKENS, old.access).await?;
            if let Some(access) = access
                && let Some(replaced) = &access.replaces
            {
                // To refresh with a token is to use it, which ends the pair before it.
                forget(&mut batch, &old.user, &old.device, replaced);
                let used = access.used();
                batch.replace(&ACCESS_TOKENS, old.access, &access, &used);
            }
            if let Some((access, refresh)) = old.next {
                let access = Some(access);
                forget(
                    &mut batch,
                    &old.user,
                    &old.device,
                    &Replaced { access, refresh },
                );
            }
            let replaces = Replaced {
                access: Some(old.access),
                refresh: token,
            };
            let (login, next) =
                self.plan_tokens(&mut batch, &old.user, &old.device, true, Some(replaces));
            let used = RefreshToken {
                next,
                ..old.clone()
            };
            batch.replace(&REFRESH_TOKENS, token, &old, &used);
            if self.try_commit(batch).await?.is_some() {
                return Ok(login);
            }
        }
        Err(Error::Busy)
    }

    /// Makes or renews a device and gives it tokens; older tokens of that device cease.
    pub(crate) async fn plan_login(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        new: &NewDevice,
    ) -> Result<Login, Error> {
        let device_id = match &new.device_id {
            Some(id) if id.as_str().is_empty() || id.as_str().len() > MAX_DEVICE_ID_BYTES => {
                let reason = "the device id is empty or too long";
                return Err(Error::refused(Refusal::InvalidParam, reason));
            }
            Some(id) => id.clone(),
            None => self.rng.opaque(10).to_uppercase().into(),
        };
        let name = new.display_name.as_deref();
        let now = self.clock.now();
        let limit = self.limits.devices;
        device::plan_arrival(view, batch, user, &device_id, name, now, limit).await?;
        plan_revocation(view, batch, user, &device_id).await?;
        let (login, _) = self.plan_tokens(batch, user, &device_id, new.refreshable, None);
        Ok(login)
    }

    fn plan_tokens(
        &self,
        batch: &mut Batch,
        user: &UserId,
        device: &DeviceId,
        refreshable: bool,
        replaces: Option<Replaced>,
    ) -> (Login, Option<(Fingerprint, Fingerprint)>) {
        let access_token = self.rng.opaque(TOKEN_LENGTH);
        let access = fingerprint(&access_token);
        let expires_in = refreshable.then_some(self.limits.access_token_lifetime);
        let record = AccessToken {
            user: user.to_owned(),
            device: device.to_owned(),
            expires: expires_in.map(|lifetime| self.clock.now().after(lifetime)),
            replaces,
        };
        batch.put(&ACCESS_TOKENS, access, Json(record));
        batch.put(
            &DEVICE_TOKENS,
            (user.as_str(), device.as_str(), ACCESS, access),
            (),
        );
        let mut login = Login {
            user_id: user.to_owned(),
            device_id: device.to_owned(),
            access_token,
            refresh_token: None,
            expires_in,
        };
        if !refreshable {
            return (login, None);
        }
        let refresh_token = self.rng.opaque(TOKEN_LENGTH);
        let refresh = fingerprint(&refresh_token);
        let record = RefreshToken {
            user: user.to_owned(),
            device: device.to_owned(),
            access,
            next: None,
        };
        batch.put(&REFRESH_TOKENS, refresh, Json(record));
        batch.put(
            &DEVICE_TOKENS,
            (user.as_str(), device.as_str(), REFRESH, refresh),
            (),
        );
        login.refresh_token = Some(refresh_token);
        (login, Some((access, refresh)))
    }

    /// Ends the tokens that `found` replaces, upon its first use.
    pub(crate) async fn settle_refresh(
        &self,
        token: &Fingerprint,
        found: &Seen<AccessToken>,
    ) -> Result<(), Error> {
        let Some(replaced) = &found.replaces else {
            return Ok(());
        };
        let mut batch = Batch::new();
        forget(&mut batch, &found.user, &found.device, replaced);
        batch.replace(&ACCESS_TOKENS, *token, found, &found.used());
        // After a conflict another request has done the same, or the token is gone: the next look-up tells.
        self.try_commit(batch).await?;
        Ok(())
    }

    /// The hashes of all access tokens of a user.
    pub(crate) async fn access_tokens(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<Vec<Fingerprint>, Error> {
        let found = view
            .scan_prefix(
                &DEVICE_TOKENS,
                (user.as_str(),),
                Direction::Forward,
                SCAN_LIMIT,
            )
            .await?;
        let access = found
            .into_iter()
            .filter(|((_, _, kind, _), ())| *kind == ACCESS);
        Ok(access.map(|((_, _, _, token), ())| token).collect())
    }
}

/// Ends all tokens of a device.
pub(crate) async fn plan_revocation(
    view: &View,
    batch: &mut Batch,
    user: &UserId,
    device: &DeviceId,
) -> Result<(), Error> {
    let of_device = (user.as_str(), device.as_str());
    let found = view
        .scan_prefix(&DEVICE_TOKENS, of_device, Direction::Forward, SCAN_LIMIT)
        .await?;
    for (key, ()) in found {
        let (_, _, kind, token) = &key;
        if *kind == ACCESS {
            batch.delete(&ACCESS_TOKENS, *token);
            wake_shard(batch, token);
        } else {
            batch.delete(&REFRESH_TOKENS, *token);
        }
        batch.delete(&DEVICE_TOKENS, key);
    }
    Ok(())
}

/// Ends a pair of tokens.
fn forget(batch: &mut Batch, user: &UserId, device: &DeviceId, pair: &Replaced) {
    let (user, device) = (user.as_str(), device.as_str());
    if let Some(access) = pair.access {
        batch.delete(&ACCESS_TOKENS, access);
        batch.delete(&DEVICE_TOKENS, (user, device, ACCESS, access));
        wake_shard(batch, &access);
    }
    batch.delete(&REFRESH_TOKENS, pair.refresh);
    batch.delete(&DEVICE_TOKENS, (user, device, REFRESH, pair.refresh));
}

#[cfg(test)]
mod tests;
