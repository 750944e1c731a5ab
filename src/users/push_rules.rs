//! Owns the push rules of a user: the predefined ones, and what the user changed. They are account data, so that clients hear
//! of changes. Must never lose a predefined rule.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use bytes::Bytes;
use hearth_store::{Position, View};
use ruma::{
    RoomId, UserId,
    push::{
        Action, ConditionalPushRule, HighlightTweakValue, InsertPushRuleError, PatternedPushRule,
        PatternedPushRuleInit, PushCondition, RemovePushRuleError, RuleNotFoundError, Ruleset,
        SimplePushRule, SoundTweakValue, Tweak,
    },
};
use serde_json::{Map, Value, value::RawValue};

use crate::{Error, Refusal, Users};

/// The type of account data that holds them.
pub(crate) const KIND: &str = "m.push_rules";
const GLOBAL: &str = "global";
/// Rules of one user in all; each is looked at for each message.
const MAX_RULES: usize = 1_000;

/// The rule for whoever is named in a message without being mentioned in it: not of the specification any more, but older
/// clients and most bridges still mention in this way alone.
pub const CONTAINS_USER_NAME: &str = ".m.rule.contains_user_name";

impl Users {
    /// The rules of a user who changed some, as stored, and since when they are so; `None` for one who has the predefined
    /// rules. [`read_push_rules`] makes sense of them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn own_push_rules(
        &self,
        view: &View,
        user: &UserId,
    ) -> Result<Option<(Position, Bytes)>, Error> {
        self.account_datum(view, user, None, KIND).await
    }

    /// Gives `new` the rules that the user has for `old`, the room that it replaces.
    ///
    /// # Errors
    /// `Busy`; those of the store.
    pub async fn carry_push_rules(
        &self,
        user: &UserId,
        old: &RoomId,
        new: &RoomId,
    ) -> Result<(), Error> {
        let view = self.store.view().await?;
        if self.own_push_rules(&view, user).await?.is_none() {
            return Ok(());
        }
        self.change_push_rules(user, |rules| {
            carry(rules, old, new);
            Ok(())
        })
        .await
    }

    /// The rules of a user, complete with the predefined ones.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn push_rules(&self, view: &View, user: &UserId) -> Result<Ruleset, Error> {
        let own = self.own_push_rules(view, user).await?;
        let rules = own.map(|(_, content)| read_push_rules(user, &content));
        Ok(rules.unwrap_or_else(|| predefined_push_rules(user)))
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

/// The rules of a user who never changed one.
#[must_use]
pub fn predefined_push_rules(user: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user);
    let named = PatternedPushRule::from(PatternedPushRuleInit {
        actions: vec![
            Action::Notify,
            Action::SetTweak(Tweak::Sound(SoundTweakValue::Default)),
            Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes)),
        ],
        default: true,
        enabled: true,
        rule_id: CONTAINS_USER_NAME.to_owned(),
        pattern: user.localpart().to_owned(),
    });
    rules.content.insert(named);
    rules
}

/// What [`Users::own_push_rules`] found, complete with the predefined rules.
#[must_use]
pub fn read_push_rules(user: &UserId, content: &[u8]) -> Ruleset {
    let content = serde_json::from_slice(content).unwrap_or_default();
    read(user, &content)
}

/// Repeats the rules for `old` for `new`.
fn carry(rules: &mut Ruleset, old: &RoomId, new: &RoomId) {
    if let Some(rule) = rules.room.get(old.as_str()) {
        let mut rule: SimplePushRule<_> = rule.clone();
        rule.rule_id = new.to_owned();
        rules.room.replace(rule);
    }
    let is_about_old = |rule: &&ConditionalPushRule| !rule.default && is_about(rule, old);
    let carried: Vec<_> = rules
        .override_
        .iter()
        .filter(is_about_old)
        .map(|rule| moved(rule, old, new))
        .collect();
    for rule in carried {
        // Before the predefined ones, as all rules of the user.
        rules
            .override_
            .shift_insert(1.min(rules.override_.len()), rule);
    }
}

fn is_about(rule: &ConditionalPushRule, room: &RoomId) -> bool {
    rule.conditions.iter().any(|condition| match condition {
        PushCondition::EventMatch(matched) => {
            matched.key == "room_id" && matched.pattern == room.as_str()
        }
        _ => false,
    })
}

fn moved(rule: &ConditionalPushRule, old: &RoomId, new: &RoomId) -> ConditionalPushRule {
    let mut moved = rule.clone();
    moved.rule_id = moved.rule_id.replace(old.as_str(), new.as_str());
    if moved.rule_id == rule.rule_id {
        moved.rule_id = format!("{}-{new}", rule.rule_id);
    }
    for condition in &mut moved.conditions {
        if let PushCondition::EventMatch(matched) = condition
            && matched.key == "room_id"
            && matched.pattern == old.as_str()
        {
            matched.pattern = new.to_string();
        }
    }
    moved
}

fn read(user: &UserId, content: &Map<String, Value>) -> Ruleset {
    let predefined = predefined_push_rules(user);
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
    let content = Map::from_iter([(GLOBAL.to_owned(), write(&predefined_push_rules(user))?)]);
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
