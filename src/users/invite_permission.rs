//! Owns whether a user lets others invite them. Must never judge an invitation by anything else.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#invite-permission>

use hearth_store::View;
use ruma::UserId;
use serde::Deserialize;

use crate::{Error, Users};

/// The account data in which users say so.
const KIND: &str = "m.invite_permission_config";

impl Users {
    /// Whether `user` wants no invitations from anybody. Users of other servers say so to their own.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn blocks_invites(&self, view: &View, user: &UserId) -> Result<bool, Error> {
        let content = self.account_data(view, user, None, KIND).await?;
        Ok(content.is_some_and(|content| blocks(content.get())))
    }
}

fn blocks(content: &str) -> bool {
    #[derive(Deserialize)]
    struct Content {
        default_action: Option<String>,
    }
    // An action that is not known is none.
    serde_json::from_str::<Content>(content)
        .is_ok_and(|content| content.default_action.as_deref() == Some("block"))
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn only_a_known_action_blocks() {
        assert!(blocks(r#"{"default_action":"block","more":1}"#));
        assert!(!blocks(r#"{"default_action":"allow"}"#));
        assert!(!blocks(r#"{"default_action":1}"#));
        assert!(!blocks("{}"));
    }
}
