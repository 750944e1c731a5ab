//! Owns the push rules of a user: the predefined ones, and what the user changed. They are account data, so that clients hear
//! of changes. Must never lose a predefined rule.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use hearth_store::View;
use ruma::{
    UserId,
    push::{InsertPushRuleError, RemovePushRuleError, RuleNotFoundError, Ruleset},
};
use serde_json::{Map, Value, value::RawValue};

use crate::{Error, Refusal, Users};

/// The type of account data that holds them.
pub(crate) const KIND: &str = "m.push_rules";
const GLOBAL: &str = "global";
/// Rules of one user in all; each is looked at for each message.
const MAX_RULES: usize = 1_000;

impl Users {
    /// The rules of a user, complete with the predefined ones.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn push_rules(&self, view: &View, user: &UserId) -> Result<Ruleset, Error> {
        let content = self.account_data(view, user, None, KIND).await?;
        let content = content.and_then(|content| serde_json::from_str(content.get()).ok());
        Ok(read(user, &content.unwrap_or_default()))
    }

    /// Changes the rules of a user; planned again after a conflict.
    ///
    /// # Errors
    /// Those of `change`, `TooLarge` for too many rules, `Busy`.
    pub async fn change_push_rules(
        &self,
        user: &UserId,
        mut change: impl FnMut(&mut Ruleset) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.update_account_data(user, None, KIND, |content| {
            let mut rules = read(user, content);
            change(&mut rules)?;
            if rules.iter().count() > MAX_RULES {
                return Err(Error::refused(Refusal::TooLarge, "too many push rules"));
            }
            content.insert(GLOBAL.to_owned(), write(&rules)?);
            Ok(true)
        })
        .await
    }
}

fn read(user: &UserId, content: &Map<String, Value>) -> Ruleset {
    let predefined = Ruleset::server_default(user);
    let stored = content
        .get(GLOBAL)
        .and_then(|global| serde_json::from_value::<Ruleset>(global.clone()).ok());
    match stored {
        Some(mut rules) => {
            rules.update_with_server_default(predefined);
            rules
        }
        None => predefined,
    }
}

fn write(rules: &Ruleset) -> Result<Value, Error> {
    serde_json::to_value(rules).map_err(|error| {
        hearth_store::Error::Corrupt(format!("push rules do not serialise: {error}")).into()
    })
}

/// What a user who never changed a rule has.
pub(crate) fn default_content(user: &UserId) -> Result<Box<RawValue>, Error> {
    let content = Map::from_iter([(GLOBAL.to_owned(), write(&Ruleset::server_default(user))?)]);
    serde_json::value::to_raw_value(&content).map_err(|error| {
        hearth_store::Error::Corrupt(format!("push rules do not serialise: {error}")).into()
    })
}

impl From<InsertPushRuleError> for Error {
    fn from(error: InsertPushRuleError) -> Self {
        match error {
            InsertPushRuleError::UnknownRuleId => Self::not_found(error.to_string()),
            _ => Self::refused(Refusal::InvalidParam, error.to_string()),
        }
    }
}

impl From<RemovePushRuleError> for Error {
    fn from(error: RemovePushRuleError) -> Self {
        match error {
            RemovePushRuleError::NotFound => Self::not_found(error.to_string()),
            _ => Self::refused(Refusal::InvalidParam, error.to_string()),
        }
    }
}

impl From<RuleNotFoundError> for Error {
    fn from(error: RuleNotFoundError) -> Self {
        Self::not_found(error.to_string())
    }
}
