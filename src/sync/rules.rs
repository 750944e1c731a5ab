//! Owns the push rules of a user, made ready: what they make of a room as a whole, and of one event. Must never read an
//! event for a room in which the default rules, or none, decide: totals tell what those count.
//!
//! Most people change few rules: they mute a room, or want only mentions in one. In such a room that is all there is to
//! know, and in all others the default rules stand. Only keywords, rules about senders and the like are asked of each event.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use std::hash::{DefaultHasher, Hash, Hasher};

use hearth_store::Position;
use hearth_users::{CONTAINS_USER_NAME, predefined_push_rules};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    push::{Action, AnyPushRuleRef, FlattenedJson, PushCondition, PushConditionRoomCtx, Ruleset},
};

/// The predefined rules whose conditions name their user.
const PERSONAL: [&str; 3] = [
    ".m.rule.is_user_mention",
    ".m.rule.invite_for_me",
    CONTAINS_USER_NAME,
];

/// What a user's rules make of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The default rules decide.
    Usual,
    /// Nothing notifies.
    Silent,
    /// Only what mentions the user notifies.
    Mentions,
    /// Each event has to be asked about.
    Own,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Which rule decided, in the order of the rules; none for [`NO_RULE`].
    pub(crate) rule: u16,
    pub(crate) notifies: bool,
    pub(crate) highlights: bool,
}

/// Stands for the rule where none matched.
pub(crate) const NO_RULE: u16 = u16::MAX;

/// The rules of a user.
pub(crate) struct Rules {
    user: OwnedUserId,
    set: Ruleset,
    /// Since when they are so; zero for predefined ones.
    pub(crate) version: Position,
    /// The same for all users whose rules are the same but for their own names.
    pub(crate) fingerprint: u128,
    differences: Vec<Difference>,
    all_silent: bool,
}

/// A rule that is not as in the default rules.
struct Difference {
    /// The only room that it is about.
    room: Option<OwnedRoomId>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An override rule that silences its room before any other is asked.
    Mute,
    /// A room rule that does not notify.
    Quiet,
    Other,
}

impl Rules {
    /// The rules of `user`, who is called `name`, as they are since `version`.
    pub(crate) fn new(user: &UserId, name: &str, set: Ruleset, version: Position) -> Self {
        let differences = differences(user, &set);
        let is_master = |rule: AnyPushRuleRef<'_>| rule.rule_id() == ".m.rule.master";
        Self {
            fingerprint: fingerprint(name, &set),
            all_silent: set.iter().any(|rule| is_master(rule) && rule.enabled()),
            user: user.to_owned(),
            set,
            version,
            differences,
        }
    }

    /// What they make of a room.
    pub(crate) fn manner(&self, room: &RoomId) -> Manner {
        if self.all_silent {
            return Manner::Silent;
        }
        let concerns =
            |difference: &&Difference| difference.room.as_ref().is_none_or(|about| about == room);
        let mut manner = Manner::Usual;
        for difference in self.differences.iter().filter(concerns) {
            manner = match (manner, difference.kind) {
                (Manner::Usual, Kind::Mute) => return Manner::Silent,
                (Manner::Usual, Kind::Quiet) => Manner::Mentions,
                _ => Manner::Own,
            };
        }
        manner
    }

    /// What the rules that name nobody make of an event: the same for all users with this fingerprint.
    pub(crate) async fn judge(
        &self,
        event: &FlattenedJson,
        context: &PushConditionRoomCtx,
    ) -> Verdict {
        for (place, rule) in self.places() {
            if !is_personal(rule) && rule.applies(event, context).await {
                return verdict(place, rule);
            }
        }
        Verdict {
            rule: NO_RULE,
            notifies: false,
            highlights: false,
        }
    }

    /// Whether a rule that names the user may match an event with this content, so that [`Rules::judge_personally`] has
    /// to be asked.
    pub(crate) fn may_name(&self, content: &str) -> bool {
        let content = content.to_lowercase();
        content.contains(self.user.localpart())
    }

    /// What the rules that name the user make of an event, if one of them comes before the rule of `shared`.
    pub(crate) async fn judge_personally(
        &self,
        shared: Verdict,
        event: &FlattenedJson,
        context: &PushConditionRoomCtx,
    ) -> Verdict {
        for (place, rule) in self.places() {
            if place >= shared.rule {
                break;
            }
            if is_personal(rule) && rule.applies(event, context).await {
                return verdict(place, rule);
            }
        }
        shared
    }

    /// What the rule of a verdict does.
    pub(crate) fn actions(&self, verdict: Verdict) -> Vec<Action> {
        let rule = self.set.iter().nth(usize::from(verdict.rule));
        rule.map_or_else(Vec::new, |rule| rule.actions().to_vec())
    }

    fn places(&self) -> impl Iterator<Item = (u16, AnyPushRuleRef<'_>)> {
        // Nobody has as many rules as this counts.
        (0..NO_RULE).zip(self.set.iter())
    }
}

fn verdict(rule: u16, by: AnyPushRuleRef<'_>) -> Verdict {
    let notifies = by.triggers_notification();
    Verdict {
        rule,
        notifies,
        highlights: notifies && by.triggers_highlight(),
    }
}

fn is_personal(rule: AnyPushRuleRef<'_>) -> bool {
    PERSONAL.contains(&rule.rule_id())
}

fn differences(user: &UserId, set: &Ruleset) -> Vec<Difference> {
    let predefined = predefined_push_rules(user);
    let is_same = |rule: AnyPushRuleRef<'_>| {
        predefined.iter().any(|usual| {
            let does = |rule: AnyPushRuleRef<'_>| {
                (
                    rule.enabled(),
                    rule.triggers_notification(),
                    rule.triggers_highlight(),
                )
            };
            usual.rule_id() == rule.rule_id() && does(usual) == does(rule)
        })
    };
    let changed = set.iter().filter(|rule| match rule.is_server_default() {
        true => !is_same(*rule),
        false => rule.enabled(),
    });
    changed.map(difference).collect()
}

fn difference(rule: AnyPushRuleRef<'_>) -> Difference {
    let room_of = |conditions: &[PushCondition]| {
        conditions.iter().find_map(|condition| match condition {
            PushCondition::EventMatch(matched) if matched.key == "room_id" => {
                RoomId::parse(&matched.pattern).ok()
            }
            _ => None,
        })
    };
    let notifies = rule.triggers_notification();
    let (room, kind) = match rule {
        AnyPushRuleRef::Override(rule) => {
            let room = room_of(&rule.conditions);
            match room.is_some() && rule.conditions.len() == 1 && !notifies && !rule.default {
                true => (room, Kind::Mute),
                false => (room, Kind::Other),
            }
        }
        AnyPushRuleRef::Underride(rule) => (room_of(&rule.conditions), Kind::Other),
        AnyPushRuleRef::Room(rule) if notifies => (Some(rule.rule_id.clone()), Kind::Other),
        AnyPushRuleRef::Room(rule) => (Some(rule.rule_id.clone()), Kind::Quiet),
        _ => (None, Kind::Other),
    };
    // A pattern with wildcards is about more rooms than the one that it looks like.
    let room = room.filter(|room| !room.as_str().contains(['*', '?']));
    Difference { room, kind }
}

/// Whether a condition is about how the user is called.
fn asks_for_name(rule: AnyPushRuleRef<'_>) -> bool {
    let conditions = match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => &rule.conditions,
        _ => return false,
    };
    let is_it = |condition: &PushCondition| condition.kind() == "contains_display_name";
    conditions.iter().any(is_it)
}

fn fingerprint(name: &str, set: &Ruleset) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        for rule in set.iter() {
            rule.rule_id().hash(&mut hasher);
            rule.enabled().hash(&mut hasher);
            rule.triggers_notification().hash(&mut hasher);
            rule.triggers_highlight().hash(&mut hasher);
            if is_personal(rule) {
                continue;
            }
            if asks_for_name(rule) {
                name.hash(&mut hasher);
            }
            let conditions = match rule {
                AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
                    serde_json::to_string(&rule.conditions).unwrap_or_default()
                }
                AnyPushRuleRef::Content(rule) => rule.pattern.clone(),
                _ => String::new(),
            };
            conditions.hash(&mut hasher);
        }
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ruma::{
        push::{Action, NewPatternedPushRule, NewPushRule, NewSimplePushRule, Ruleset},
        room_id, user_id,
    };
    use serde_json::json;

    use super::*;

    fn ready(user: &UserId, change: impl FnOnce(&mut Ruleset)) -> Rules {
        let mut set = predefined_push_rules(user);
        change(&mut set);
        Rules::new(user, "", set, Position(1))
    }

    fn mute(room: &RoomId) -> NewPushRule {
        let rule = json!({
            "rule_id": "mute", "actions": [],
            "conditions": [{ "kind": "event_match", "key": "room_id", "pattern": room }],
        });
        NewPushRule::Override(serde_json::from_value(rule).unwrap())
    }

    #[test]
    fn a_rule_about_a_room_leaves_the_others_as_they_are() {
        let (here, there) = (room_id!("!here:x"), room_id!("!there:x"));
        let muted = ready(user_id!("@a:x"), |set| {
            set.insert(mute(here), None, None).unwrap();
        });
        assert_eq!(muted.manner(here), Manner::Silent);
        assert_eq!(muted.manner(there), Manner::Usual);
        let quiet = ready(user_id!("@a:x"), |set| {
            let rule = NewSimplePushRule::new(here.to_owned(), vec![]);
            set.insert(NewPushRule::Room(rule), None, None).unwrap();
        });
        assert_eq!(quiet.manner(here), Manner::Mentions);
        assert_eq!(quiet.manner(there), Manner::Usual);
        let loud = ready(user_id!("@a:x"), |set| {
            let rule = NewSimplePushRule::new(here.to_owned(), vec![Action::Notify]);
            set.insert(NewPushRule::Room(rule), None, None).unwrap();
        });
        assert_eq!(loud.manner(here), Manner::Own);
    }

    #[test]
    fn the_same_rules_of_two_users_have_the_same_fingerprint() {
        let keyword = |user, word: &str| {
            ready(user, |set| {
                let rule = NewPatternedPushRule::new("w".into(), word.into(), vec![Action::Notify]);
                set.insert(NewPushRule::Content(rule), None, None).unwrap();
            })
        };
        let (a, b) = (user_id!("@a:x"), user_id!("@b:x"));
        let tea = keyword(a, "tea");
        assert_eq!(tea.manner(room_id!("!r:x")), Manner::Own);
        assert_eq!(tea.fingerprint, keyword(b, "tea").fingerprint);
        assert_ne!(tea.fingerprint, keyword(a, "milk").fingerprint);
    }
}
