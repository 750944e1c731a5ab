//! Owns the account record: who exists, with which password, and in which standing. Must never show a password's hash.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#account-registration-and-management>

use hearth_base::Millis;
use hearth_store::{Batch, Direction, Family, Json, SCAN_LIMIT, Seen, Table, Topic, View};
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Login, NewDevice, Refusal, Users, account_data, authentication, password, profile,
    pusher, service::ATTEMPTS,
};

/// User to their account. The record outlives the user, so that a name is never given twice.
pub(crate) const ACCOUNTS: Table<String, Json<Account>> =
    Table::new(16, "accounts", Family::Records);

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The hash of the password; `None`: nobody can log in with one.
    pub(crate) password: Option<String>,
    /// Whether the user administers this server.
    #[serde(default)]
    pub admin: bool,
    /// When it was made.
    pub created: Millis,
    /// Whether it is closed for good.
    #[serde(default)]
    pub deactivated: bool,
    /// Whether the user wished to be forgotten.
    #[serde(default)]
    pub erased: bool,
    /// Whether it is one without a name and a password of its own.
    #[serde(default)]
    pub guest: bool,
    /// Whether it can do nothing at all for now.
    #[serde(default)]
    pub locked: bool,
    /// Whether it can only listen for now.
    #[serde(default)]
    pub suspended: bool,
}

impl Account {
    /// Whether somebody can log in with a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Of this server.
    pub user_id: OwnedUserId,
    /// `None`: the user logs in by other means.
    pub password: Option<String>,
    /// Whether the user administers this server.
    pub admin: bool,
    /// Whether it is one without a name and a password of its own.
    pub guest: bool,
    /// The first display name.
    pub displayname: Option<String>,
    /// The registration token that admits this account, which is used up by it.
    pub registration_token: Option<String>,
}

impl NewAccount {
    /// An ordinary account.
    #[must_use]
    pub fn new(user_id: OwnedUserId, password: Option<String>) -> Self {
        Self {
            user_id,
            password,
            admin: false,
            guest: false,
            displayname: None,
            registration_token: None,
        }
    }
}

/// A password that can be stored.
#[derive(Clone)]
pub struct HashedPassword(String);

impl Users {
    /// The account of a local user, deactivated ones included.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn account(&self, view: &View, user: &UserId) -> Result<Option<Account>, Error> {
        let found = view.get(&ACCOUNTS, user.as_str()).await?;
        Ok(found.map(|Json(account)| account))
    }

    /// Local users in the order of their names, after `after`, at most `limit`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn accounts(
        &self,
        view: &View,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<(OwnedUserId, Account)>, Error> {
        // NUL is not in any identifier: the first key above `after`.
        let start = after.map_or_else(String::new, |user| format!("{user}\0"));
        let end = "A".to_owned();
        let range = start..end;
        let found = view
            .scan(&ACCOUNTS, range, Direction::Forward, limit)
            .await?;
        let parsed = found
            .into_iter()
            .filter_map(|(user, Json(account))| Some((UserId::parse(user).ok()?, account)));
        Ok(parsed.collect())
    }

    /// The identifier of `name`, if an account of that name can be made.
    ///
    /// # Errors
    /// `InvalidUsername`, `UserInUse`.
    pub async fn check_name(&self, name: &str) -> Result<OwnedUserId, Error> {
        let user = self.local_user(name)?;
        let view = self.store.view().await?;
        if view.get(&ACCOUNTS, user.as_str()).await?.is_some() {
            return Err(in_use());
        }
        Ok(user)
    }

    /// A name that nobody has asked for.
    #[must_use]
    pub fn invent_name(&self) -> String {
        self.rng.opaque(12).to_lowercase()
    }

    /// Makes an account and, with `device`, logs it in.
    ///
    /// # Errors
    /// `UserInUse`, `WeakPassword`, `Forbidden` if the registration token is not good any more, `InvalidParam` for a bad
    /// device id.
    pub async fn register(
        &self,
        new: NewAccount,
        device: Option<NewDevice>,
    ) -> Result<Option<Login>, Error> {
        let user = &new.user_id;
        let password = match new.password {
            Some(password) => Some(self.hash_password(password).await?.0),
            None => None,
        };
        let account = Account {
            password,
            admin: new.admin,
            created: self.clock.now(),
            deactivated: false,
            erased: false,
            guest: new.guest,
            locked: false,
            suspended: false,
        };
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            if view.get(&ACCOUNTS, user.as_str()).await?.is_some() {
                return Err(in_use());
            }
            let mut batch = Batch::new();
            batch.assert_absent(&ACCOUNTS, user.as_str());
            batch.put(&ACCOUNTS, user.as_str(), Json(&account));
            // The log moves, so that position zero lies before every account: it is how "from the beginning" is told.
            batch.position();
            if let Some(token) = &new.registration_token {
                self.plan_token_use(&view, &mut batch, token).await?;
            }
            if let Some(name) = &new.displayname {
                profile::plan_first(&mut batch, user, name)?;
            }
            let login = match &device {
                Some(device) => Some(self.plan_login(&view, &mut batch, user, device).await?),
                None => None,
            };
            if self.try_commit(batch).await?.is_some() {
                return Ok(login);
            }
        }
        Err(Error::Busy)
    }

    /// Whether `password` is the one of `user`. Takes as long where there is no such user.
    ///
    /// # Errors
    /// `Busy` if too many ask at the same time; those of the store.
    pub async fn check_password(&self, user: &UserId, password: String) -> Result<bool, Error> {
        let view = self.store.view().await?;
        let account = self.account(&view, user).await?;
        let stored = account
            .filter(|account| !account.deactivated)
            .and_then(|account| account.password);
        self.passwords.check(password, stored).await
    }

    /// Makes a password fit to be stored.
    ///
    /// # Errors
    /// `WeakPassword` for an empty one, `TooLarge` for one of more than a kilobyte, `Busy`.
    pub async fn hash_password(&self, password: String) -> Result<HashedPassword, Error> {
        if password.is_empty() {
            let reason = "the password must not be empty";
            return Err(Error::refused(Refusal::WeakPassword, reason));
        }
        if password.len() > password::MAX_BYTES {
            return Err(Error::refused(
                Refusal::TooLarge,
                "the password is too long",
            ));
        }
        let mut salt = [0; 16];
        self.rng.fill(&mut salt);
        Ok(HashedPassword(self.passwords.hash(password, salt).await?))
    }

    /// Gives `user` another password.
    ///
    /// # Errors
    /// `NotFound`, `UserDeactivated`.
    pub async fn plan_password(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        password: &HashedPassword,
    ) -> Result<(), Error> {
        let old = self.active(view, user).await?;
        let new = Account {
            password: Some(password.0.clone()),
            ..old.clone()
        };
        batch.replace(&ACCOUNTS, user.as_str(), &old, &new);
        Ok(())
    }

    /// Makes `user` an administrator of this server, or an ordinary user.
    ///
    /// # Errors
    /// `NotFound`, `UserDeactivated`, `Busy`.
    pub async fn set_admin(&self, user: &UserId, admin: bool) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let old = self.active(&view, user).await?;
            let mut batch = Batch::new();
            let new = Account {
                admin,
                ..old.clone()
            };
            batch.replace(&ACCOUNTS, user.as_str(), &old, &new);
            for token in self.access_tokens(&view, user).await? {
                authentication::wake_shard(&mut batch, &token);
            }
            if self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    /// Closes an account for good: no login, no devices, no profile, no account data. The rooms are the caller's part.
    ///
    /// # Errors
    /// `NotFound`, `UserDeactivated`.
    pub async fn plan_deactivation(
        &self,
        view: &View,
        batch: &mut Batch,
        user: &UserId,
        erase: bool,
    ) -> Result<(), Error> {
        let old = self.active(view, user).await?;
        let closed = Account {
            password: None,
            admin: false,
            deactivated: true,
            erased: erase,
            ..old.clone()
        };
        batch.replace(&ACCOUNTS, user.as_str(), &old, &closed);
        for device in self.devices(view, user).await? {
            self.plan_device_deletion(view, batch, user, &device.device_id)
                .await?;
        }
        profile::plan_removal(batch, user);
        account_data::plan_removal(view, batch, user, SCAN_LIMIT).await?;
        pusher::plan_removal(view, batch, user, None).await?;
        batch.wake(Topic::new('u', user.as_str()));
        Ok(())
    }

    /// The account of a user who can still use it.
    pub(crate) async fn active(&self, view: &View, user: &UserId) -> Result<Seen<Account>, Error> {
        let account = view
            .get_seen(&ACCOUNTS, user.as_str())
            .await?
            .ok_or_else(|| Error::not_found("there is no such user"))?;
        if account.deactivated {
            let reason = "the account is deactivated";
            return Err(Error::refused(Refusal::UserDeactivated, reason));
        }
        Ok(account)
    }
}

fn in_use() -> Error {
    Error::refused(Refusal::UserInUse, "this user name is taken")
}

#[cfg(test)]
mod tests;
