//! Owns whether an account is locked or suspended: closed for a while, or only listening. Must never end a session by it: with
//! the account, each of its sessions is as it was.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#account-moderation>

use hearth_store::Batch;
use ruma::UserId;

use crate::{
    Account, Error, Users, account::ACCOUNTS, authentication::wake_shard, service::ATTEMPTS,
};

impl Users {
    /// Locks an account, or opens it again.
    ///
    /// # Errors
    /// `NotFound`, `UserDeactivated`, `Busy`.
    pub async fn set_locked(&self, user: &UserId, locked: bool) -> Result<(), Error> {
        self.change_standing(user, |account| Account { locked, ..account })
            .await
    }

    /// Suspends an account, or lets it speak again.
    ///
    /// # Errors
    /// `NotFound`, `UserDeactivated`, `Busy`.
    pub async fn set_suspended(&self, user: &UserId, suspended: bool) -> Result<(), Error> {
        self.change_standing(user, |account| Account {
            suspended,
            ..account
        })
        .await
    }

    async fn change_standing(
        &self,
        user: &UserId,
        change: impl Fn(Account) -> Account,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let view = self.store.view().await?;
            let old = self.active(&view, user).await?;
            let mut batch = Batch::new();
            let new = change(old.clone());
            batch.replace(&ACCOUNTS, user.as_str(), &old, &new);
            for token in self.access_tokens(&view, user).await? {
                wake_shard(&mut batch, &token);
            }
            if self.try_commit(batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }
}
