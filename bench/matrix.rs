//! Owns the requests of the client-server API that the scenarios make. Must never know which server answers.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/>

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Failure,
    http::{Answer, Client},
};

/// The server's name, the same in both.
pub(crate) const NAME: &str = "localhost";

/// Who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// The part of the identifier before the colon.
    pub(crate) name: String,
    pub(crate) token: String,
}

impl User {
    /// The whole identifier.
    pub(crate) fn id(&self) -> String {
        format!("@{}:{NAME}", self.name)
    }
}

impl Client {
    /// Makes a room as `options` says; gives its id.
    pub(crate) async fn create_room(
        &mut self,
        user: &User,
        options: &Value,
    ) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Created {
            room_id: String,
        }
        let (path, body) = ("/_matrix/client/v3/createRoom", options.to_string());
        let answer = self.call(&Method::POST, path, &user.token, &body).await?;
        let created: Created = serde_json::from_slice(&answer.good()?)?;
        Ok(created.room_id)
    }

    /// Joins a room.
    pub(crate) async fn join(&mut self, user: &User, room: &str) -> Result<(), Failure> {
        let path = format!("/_matrix/client/v3/rooms/{room}/join");
        let answer = self.call(&Method::POST, &path, &user.token, "{}").await?;
        answer.good().map(drop)
    }

    /// Sends a text; `transaction` has to be new.
    pub(crate) async fn send(
        &mut self,
        user: &User,
        room: &str,
        text: &str,
        transaction: &str,
    ) -> Result<(), Failure> {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}");
        let body = json!({ "msgtype": "m.text", "body": text }).to_string();
        let answer = self.call(&Method::PUT, &path, &user.token, &body).await?;
        answer.good().map(drop)
    }

    /// What is new after `since`, waiting for it `wait` milliseconds at most.
    pub(crate) async fn sync(
        &mut self,
        user: &User,
        since: &str,
        wait: u32,
    ) -> Result<Bytes, Failure> {
        let path = format!("/_matrix/client/v3/sync?timeout={wait}&since={since}");
        self.get(user, &path).await?.good()
    }

    /// A token of now.
    pub(crate) async fn now(&mut self, user: &User) -> Result<String, Failure> {
        // No room, no account data: only the token is wanted.
        let filter = "%7B%22room%22%3A%7B%22rooms%22%3A%5B%5D%7D%7D";
        let path = format!("/_matrix/client/v3/sync?timeout=0&filter={filter}");
        next_batch(&self.get(user, &path).await?.good()?)
    }

    /// Any look-up.
    pub(crate) async fn get(&mut self, user: &User, path: &str) -> Result<Answer, Failure> {
        self.call(&Method::GET, path, &user.token, "").await
    }
}

/// From where the next sync continues.
pub(crate) fn next_batch(sync: &[u8]) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Sync {
        next_batch: String,
    }
    Ok(serde_json::from_slice::<Sync>(sync)?.next_batch)
}

/// Whether `text` is somewhere in an answer.
pub(crate) fn contains(answer: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    answer.windows(text.len()).any(|window| window == text)
}
