//! Owns user-interactive authentication: which stages a caller has passed before an operation that needs them. Must never
//! let stages that were passed for one operation count for another.
//!
//! Sessions live in memory for a quarter of an hour; one that is lost is begun again.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#user-interactive-authentication-api>

use bytes::Bytes;
use hearth_store::Lifetime;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::{Error, Users};

const LIFETIME: Lifetime = Lifetime(15 * 60 * 1000);

/// A step that a caller may have to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Nothing but saying so.
    Dummy,
    /// The password of the account.
    Password,
    /// A token that admits new accounts.
    RegistrationToken,
}

impl Stage {
    /// As the specification names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dummy => "m.login.dummy",
            Self::Password => "m.login.password",
            Self::RegistrationToken => "m.login.registration_token",
        }
    }
}

/// What a caller offers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To have come this far.
    Dummy,
    /// To know a password.
    Password {
        /// Localpart or whole identifier.
        user: String,
        /// The password.
        password: String,
    },
    /// To be admitted by a token.
    RegistrationToken(String),
    /// To have done something elsewhere.
    Acknowledged,
    /// Something that this server does not know.
    Unknown,
}

/// What is still to be done.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// To be sent along with the next answer.
    pub session: String,
    /// The ways through, each a row of stages.
    pub flows: Vec<Vec<Stage>>,
    /// The stages that were passed.
    pub completed: Vec<Stage>,
    /// Why the last answer was not good.
    pub refusal: Option<Error>,
}

/// How far a caller has come.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Through; the session is used up.
    Passed {
        /// The registration token that was shown, to be counted when the account is made.
        registration_token: Option<String>,
    },
    /// Not yet through.
    Asked(Challenge),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progress {
    purpose: String,
    user: Option<OwnedUserId>,
    completed: Vec<Stage>,
    token: Option<String>,
}

impl Users {
    /// Takes in `answer` and says whether one of `flows` is complete. `purpose` names the operation with all that matters
    /// about it; `user` is who is logged in. An answer without a session begins one.
    ///
    /// # Errors
    /// `Forbidden` for the password of another user; `Busy`; those of the store. Another bad answer is a challenge with a
    /// refusal.
    pub async fn interact(
        &self,
        purpose: &str,
        user: Option<&UserId>,
        flows: &[Vec<Stage>],
        session: Option<&str>,
        answer: Option<Answer>,
    ) -> Result<Outcome, Error> {
        let known = match session {
            Some(session) => self.progress(session, purpose, user).await?,
            None => None,
        };
        let (session, mut progress) = match (session, known) {
            (Some(session), Some(progress)) => (session.to_owned(), progress),
            _ => (self.rng.opaque(24), begin(purpose, user)),
        };
        let refusal = match answer {
            Some(answer) => self.take(&mut progress, flows, answer).await?,
            None => None,
        };
        let through = flows
            .iter()
            .any(|flow| flow.iter().all(|stage| progress.completed.contains(stage)));
        if through && refusal.is_none() {
            self.store.hints().take(&key(&session)).await?;
            let registration_token = progress.token;
            return Ok(Outcome::Passed { registration_token });
        }
        let written = serde_json::to_vec(&progress).unwrap_or_default();
        self.store
            .hints()
            .put(&key(&session), Bytes::from(written), LIFETIME)
            .await?;
        Ok(Outcome::Asked(Challenge {
            session,
            flows: flows.to_vec(),
            completed: progress.completed,
            refusal,
        }))
    }

    /// What was passed in `session`, if it exists for this operation of this user.
    async fn progress(
        &self,
        session: &str,
        purpose: &str,
        user: Option<&UserId>,
    ) -> Result<Option<Progress>, Error> {
        let Some(bytes) = self.store.hints().get(&key(session)).await? else {
            return Ok(None);
        };
        let progress = serde_json::from_slice::<Progress>(&bytes).ok();
        Ok(progress.filter(|known| known.purpose == purpose && known.user.as_deref() == user))
    }

    /// Notes the stage that `answer` passes, or says why it passes none.
    async fn take(
        &self,
        progress: &mut Progress,
        flows: &[Vec<Stage>],
        answer: Answer,
    ) -> Result<Option<Error>, Error> {
        let stage = match &answer {
            Answer::Dummy => Stage::Dummy,
            Answer::Password { .. } => Stage::Password,
            Answer::RegistrationToken(_) => Stage::RegistrationToken,
            Answer::Acknowledged => return Ok(None),
            Answer::Unknown => return Ok(Some(Error::forbidden("this stage is not known here"))),
        };
        if !flows.iter().any(|flow| flow.contains(&stage)) {
            return Ok(Some(Error::forbidden("this stage is not asked for")));
        }
        let refusal = match answer {
            Answer::Password { user, password } => {
                self.refuse_password(progress, &user, password).await?
            }
            Answer::RegistrationToken(token) => {
                let good = self.registration_token_is_good(&token).await?;
                progress.token = good.then_some(token);
                (!good).then(|| Error::forbidden("the registration token is not good"))
            }
            Answer::Dummy | Answer::Acknowledged | Answer::Unknown => None,
        };
        if refusal.is_none() && !progress.completed.contains(&stage) {
            progress.completed.push(stage);
        }
        Ok(refusal)
    }

    async fn refuse_password(
        &self,
        progress: &Progress,
        name: &str,
        password: String,
    ) -> Result<Option<Error>, Error> {
        let named = self.local_user(name).ok();
        let (Some(owner), Some(named)) = (&progress.user, named) else {
            return Ok(Some(wrong_password()));
        };
        if *owner != named {
            // No other answer of that user could be good here.
            return Err(Error::forbidden("this is another user's account"));
        }
        let right = self.check_password(owner, password).await?;
        Ok((!right).then(wrong_password))
    }
}

fn wrong_password() -> Error {
    Error::forbidden("the user name or the password is wrong")
}

fn begin(purpose: &str, user: Option<&UserId>) -> Progress {
    Progress {
        purpose: purpose.to_owned(),
        user: user.map(UserId::to_owned),
        completed: Vec::new(),
        token: None,
    }
}

fn key(session: &str) -> String {
    format!("interactive:{session}")
}

#[cfg(test)]
mod tests;
