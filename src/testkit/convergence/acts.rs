//! Owns what users of the simulated servers do, by chance. Must never mind whether it is allowed: the rooms say.

use hearth_rooms::{Act, Error, MemberChange, Membership, NewEvent, NewRoom, Preset};
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    Failure,
    world::{USERS, World},
};

/// What is refused is no failure; what cannot be carried out at all is one.
fn unless_broken<T>(result: Result<T, Error>) -> Result<(), Failure> {
    match result {
        Err(error @ Error::Store(_)) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "refused");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

impl World {
    /// The first server's first user makes the room.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        let mut room = NewRoom::by(self.user(0, 0)?);
        room.version = Some(self.version);
        room.preset = Some(Preset::PublicChat);
        self.room_id = Some(self.peers[0].rooms.create(room).await?);
        Ok(())
    }

    /// A user of a server joins, through any other server that can be reached.
    pub(crate) async fn join(&mut self, peer: usize, number: usize) -> Result<(), Failure> {
        let change = MemberChange::own(self.room()?, self.user(peer, number)?, Act::Join);
        let via = [
            self.peers[0].name.clone(),
            self.peers[self.pick(self.peers.len())].name.clone(),
        ];
        let joined = self.peers[peer]
            .rooms
            .change_membership_through(change, &via);
        unless_broken(joined.await)
    }

    /// Somebody does something.
    pub(crate) async fn act(&mut self) -> Result<(), Failure> {
        let peer = self.pick(self.peers.len());
        let user = self.user(peer, self.pick(USERS))?;
        let other_peer = self.pick(self.peers.len());
        let other = self.user(other_peer, self.pick(USERS))?;
        match self.pick(20) {
            0..=5 => self.say(peer, user).await,
            6..=8 => {
                let kind = ["m.room.name", "m.room.topic", "org.example.note"][self.pick(3)];
                let word = format!("{}", self.step);
                let content = json!({ "name": word, "topic": word });
                self.set(peer, user, kind, content).await
            }
            9..=11 => self.empower(peer, user, other).await,
            12 => {
                let rule = ["public", "public", "invite"][self.pick(3)];
                self.set(
                    peer,
                    user,
                    "m.room.join_rules",
                    json!({ "join_rule": rule }),
                )
                .await
            }
            13 => {
                let setting = ["shared", "joined", "invited", "world_readable"][self.pick(4)];
                let content = json!({ "history_visibility": setting });
                self.set(peer, user, "m.room.history_visibility", content)
                    .await
            }
            14 => self.change(peer, user, other, Act::Kick).await,
            15 => self.change(peer, user, other, Act::Ban).await,
            16 => self.change(peer, user, other, Act::Unban).await,
            17 => self.change(peer, user, other, Act::Invite).await,
            18 => {
                let change = MemberChange::own(self.room()?, user, Act::Leave);
                unless_broken(self.peers[peer].rooms.change_membership(change).await)
            }
            _ => self.join(peer, self.pick(USERS)).await,
        }
    }

    /// A user says something.
    pub(crate) async fn say(&mut self, peer: usize, user: OwnedUserId) -> Result<(), Failure> {
        let content = to_raw_value(&json!({ "body": format!("{}", self.step) }))?;
        let event = NewEvent::message(self.room()?, user, "m.room.message", content);
        unless_broken(self.peers[peer].rooms.send(event).await)
    }

    async fn set(
        &mut self,
        peer: usize,
        user: OwnedUserId,
        kind: &str,
        content: Value,
    ) -> Result<(), Failure> {
        let content = to_raw_value(&content)?;
        let event = NewEvent::state(self.room()?, user, kind, "", content);
        unless_broken(self.peers[peer].rooms.send(event).await)
    }

    async fn change(
        &mut self,
        peer: usize,
        user: OwnedUserId,
        other: OwnedUserId,
        act: Act,
    ) -> Result<(), Failure> {
        let (rooms, room_id) = (&self.peers[peer].rooms, self.room()?);
        let view = rooms.view().await?;
        let head = rooms.head(&view, &room_id).await?;
        if let Some(head) = head
            && rooms.is_partial(&view, &room_id, &head).await?
        {
            // It would wait for the members, which nobody fetches meanwhile.
            return Ok(());
        }
        drop(view);
        let change = MemberChange::of(room_id, user, other, act);
        unless_broken(rooms.change_membership(change).await)
    }

    /// Gives somebody another power level.
    async fn empower(
        &mut self,
        peer: usize,
        user: OwnedUserId,
        other: OwnedUserId,
    ) -> Result<(), Failure> {
        let rooms = &self.peers[peer].rooms;
        let view = rooms.view().await?;
        let room_id = self.room()?;
        let Some(head) = rooms.head(&view, &room_id).await? else {
            return Ok(());
        };
        let levels = rooms.state_event(&view, &head, head.state, "m.room.power_levels", "");
        let Some(levels) = levels.await? else {
            return Ok(());
        };
        let mut content: Value = serde_json::from_str(levels.pdu.content().get())?;
        content["users"][other.as_str()] = [0, 25, 50, 100][self.pick(4)].into();
        self.set(peer, user, "m.room.power_levels", content).await
    }

    /// Somebody of each server who is still in the room says something, so that what the server knows is known to all.
    pub(crate) async fn sum_up(&mut self) -> Result<(), Failure> {
        for peer in 0..self.peers.len() {
            if let Some(user) = self.member_of(peer).await? {
                self.say(peer, user).await?;
            }
        }
        Ok(())
    }

    /// A user of a server who is in the room, as that server sees it.
    pub(crate) async fn member_of(&self, peer: usize) -> Result<Option<OwnedUserId>, Failure> {
        for number in 0..USERS {
            let user = self.user(peer, number)?;
            if self.is_joined(peer, &user).await? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }

    /// Whether a user is in the room, as a server sees it.
    pub(crate) async fn is_joined(&self, peer: usize, user: &UserId) -> Result<bool, Failure> {
        let rooms = &self.peers[peer].rooms;
        let view = rooms.view().await?;
        let member = rooms.membership(&view, user, &self.room()?).await?;
        Ok(member.is_some_and(|member| member.membership == Membership::Join))
    }
}
