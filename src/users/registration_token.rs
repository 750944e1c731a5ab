//! Owns the tokens that admit new accounts. Must never let a token be used more often than it says.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#token-authenticated-registration>

use hearth_base::Millis;
use hearth_store::{Batch, Direction, Family, Json, SCAN_LIMIT, Table, View};
use serde::{Deserialize, Serialize};

use crate::{Error, Refusal, Users};

const TOKENS: Table<String, Json<RegistrationToken>> =
    Table::new(25, "registration_tokens", Family::Records);

const MAX_BYTES: usize = 64;

/// A token that admits new accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationToken {
    /// What is told to those who may come: letters, digits and `._~-`, at most 64.
    pub token: String,
    /// How many accounts it admits; `None`: any number.
    pub uses_allowed: Option<u64>,
    /// How many it has admitted.
    #[serde(default)]
    pub completed: u64,
    /// When it ceases.
    pub expires: Option<Millis>,
}

impl RegistrationToken {
    fn is_good(&self, now: Millis) -> bool {
        self.expires.is_none_or(|at| now < at)
            && self.uses_allowed.is_none_or(|most| self.completed < most)
    }
}

impl Users {
    /// Whether the token admits an account now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn registration_token_is_good(&self, token: &str) -> Result<bool, Error> {
        let view = self.store.view().await?;
        let found = view.get(&TOKENS, token).await?;
        Ok(found.is_some_and(|Json(token)| token.is_good(self.clock.now())))
    }

    /// Adds a token, or changes the one of that name.
    ///
    /// # Errors
    /// `InvalidParam` if it has letters it must not have.
    pub async fn put_registration_token(&self, token: RegistrationToken) -> Result<(), Error> {
        let name = token.token.as_str();
        let fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'~' | b'-');
        if name.is_empty() || name.len() > MAX_BYTES || !name.bytes().all(fine) {
            let reason = "a registration token has 1 to 64 letters, digits and ._~-";
            return Err(Error::refused(Refusal::InvalidParam, reason));
        }
        let mut batch = Batch::new();
        batch.put(&TOKENS, name, Json(&token));
        self.try_commit(batch).await?;
        Ok(())
    }

    /// Removes a token; nothing if there is none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_registration_token(&self, token: &str) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete(&TOKENS, token);
        self.try_commit(batch).await?;
        Ok(())
    }

    /// All tokens.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn registration_tokens(&self, view: &View) -> Result<Vec<RegistrationToken>, Error> {
        let found = view
            .scan(
                &TOKENS,
                String::new()..MAX_KEY.to_owned(),
                Direction::Forward,
                SCAN_LIMIT,
            )
            .await?;
        Ok(found.into_iter().map(|(_, Json(token))| token).collect())
    }

    /// Counts a use of the token.
    pub(crate) async fn plan_token_use(
        &self,
        view: &View,
        batch: &mut Batch,
        token: &str,
    ) -> Result<(), Error> {
        let found = view.get_seen(&TOKENS, token).await?;
        let Some(old) = found.filter(|token| token.is_good(self.clock.now())) else {
            return Err(Error::forbidden(
                "the registration token is not good any more",
            ));
        };
        let new = RegistrationToken {
            completed: old.completed + 1,
            ..old.clone()
        };
        batch.replace(&TOKENS, token, &old, &new);
        Ok(())
    }
}

/// Above every token, whose letters are ASCII.
const MAX_KEY: &str = "\u{7f}";
