//! Owns room aliases and the public directory. Must never list what a room's members did not make public.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#room-aliases> and
//! <https://spec.matrix.org/latest/client-server-api/#published-room-directory>

use hearth_store::{
    Batch, CommitError, Direction, Family, Part, ReadPart, Reader, SCAN_LIMIT, Table, View, Writer,
};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};

use crate::{Error, Refusal, Rooms, membership::parse_room, queue::MAX_TRIES};

/// Alias to the room it points to.
pub(crate) const ALIASES: Table<String, AliasTarget> = Table::new(107, "aliases", Family::Records);

/// (room, alias).
pub(crate) const ROOM_ALIASES: Table<(String, String), ()> =
    Table::new(108, "room_aliases", Family::Index);

/// The rooms in the public directory.
pub(crate) const PUBLISHED: Table<String, ()> = Table::new(109, "published", Family::Index);

/// How many aliases a room may have.
const MAX_ALIASES: usize = 1000;

/// Where an alias points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AliasTarget {
    pub(crate) room_id: String,
    pub(crate) creator: String,
}

impl Part for AliasTarget {
    fn write(&self, w: &mut Writer) {
        (&self.room_id, &self.creator).write(w);
    }
}

impl ReadPart for AliasTarget {
    fn read(r: &mut Reader<'_>) -> Result<Self, hearth_store::Error> {
        let (room_id, creator) = ReadPart::read(r)?;
        Ok(Self { room_id, creator })
    }
}

impl Rooms {
    /// The room that the alias points to, and who made the alias.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn resolve_alias(
        &self,
        view: &View,
        alias: &RoomAliasId,
    ) -> Result<Option<(OwnedRoomId, OwnedUserId)>, Error> {
        let Some(target) = view.get(&ALIASES, alias.as_str()).await? else {
            return Ok(None);
        };
        let creator = crate::membership::parse_user(target.creator)?;
        Ok(Some((parse_room(target.room_id)?, creator)))
    }

    /// The aliases of a room on this server.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn aliases_of(
        &self,
        view: &View,
        room_id: &RoomId,
    ) -> Result<Vec<OwnedRoomAliasId>, Error> {
        let found: Vec<((String, String), ())> = view
            .scan_prefix(
                &ROOM_ALIASES,
                (room_id.as_str(),),
                Direction::Forward,
                MAX_ALIASES,
            )
            .await?;
        found
            .into_iter()
            .map(|((_, alias), ())| {
                OwnedRoomAliasId::try_from(alias)
                    .map_err(|e| Error::corrupt(format!("an index names no alias: {e}")))
            })
            .collect()
    }

    /// Makes an alias of this server for a room.
    ///
    /// # Errors
    /// `Refused` with `InvalidParam` for an alias of another server, `RoomInUse` if it is taken; `NotFound` for an
    /// unknown room; `Forbidden` when the user is not in the room.
    pub async fn set_alias(
        &self,
        alias: &RoomAliasId,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<(), Error> {
        self.check_own_alias(alias)?;
        let view = self.0.store.view().await?;
        self.known_head(&view, room_id).await?;
        if !self.is_joined(&view, user, room_id).await? {
            return Err(Error::forbidden("you are not in this room"));
        }
        if self.aliases_of(&view, room_id).await?.len() >= MAX_ALIASES {
            return Err(Error::refused(Refusal::LimitExceeded, "too many aliases"));
        }
        let mut batch = Batch::new();
        self.plan_alias(&mut batch, alias, room_id.as_str(), user);
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict) => {
                Err(Error::refused(Refusal::RoomInUse, "the alias is taken"))
            }
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }

    /// Puts a new alias into a batch, which conflicts if it is taken.
    pub(crate) fn plan_alias(
        &self,
        batch: &mut Batch,
        alias: &RoomAliasId,
        room_id: &str,
        user: &UserId,
    ) {
        let target = AliasTarget {
            room_id: room_id.to_owned(),
            creator: user.as_str().to_owned(),
        };
        batch.assert_absent(&ALIASES, alias.as_str());
        batch.put(&ALIASES, alias.as_str(), target);
        batch.put(&ROOM_ALIASES, (room_id, alias.as_str()), ());
    }

    /// An alias has to be of this server and no longer than an identifier may be.
    pub(crate) fn check_own_alias(&self, alias: &RoomAliasId) -> Result<(), Error> {
        if alias.server_name() != self.0.server_name {
            return Err(Error::refused(
                Refusal::InvalidParam,
                "the alias is one of another server",
            ));
        }
        if alias.as_str().len() > hearth_protocol::MAX_FIELD_BYTES {
            return Err(Error::refused(
                Refusal::InvalidParam,
                "the alias is too long",
            ));
        }
        Ok(())
    }

    /// Removes an alias: its maker may, who may change the room's canonical alias may, and an administrator.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn delete_alias(
        &self,
        alias: &RoomAliasId,
        user: &UserId,
        is_admin: bool,
    ) -> Result<OwnedRoomId, Error> {
        for _ in 0..MAX_TRIES {
            let view = self.0.store.view().await?;
            let target = view
                .get(&ALIASES, alias.as_str())
                .await?
                .ok_or_else(|| Error::not_found("there is no such alias"))?;
            let room_id = parse_room(target.room_id.clone())?;
            if !is_admin && target.creator != user.as_str() {
                self.check_rules(&view, user, &room_id, "m.room.canonical_alias")
                    .await?;
            }
            let mut batch = Batch::new();
            batch.assert_equals(&ALIASES, alias.as_str(), &target);
            batch.delete(&ALIASES, alias.as_str());
            batch.delete(&ROOM_ALIASES, (room_id.as_str(), alias.as_str()));
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(room_id),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// Whether the room is in the public directory.
    ///
    /// # Errors
    /// `NotFound` for an unknown room.
    pub async fn is_published(&self, view: &View, room_id: &RoomId) -> Result<bool, Error> {
        self.known_head(view, room_id).await?;
        Ok(view.get(&PUBLISHED, room_id.as_str()).await?.is_some())
    }

    /// Puts the room into the public directory or takes it out: who may change its canonical alias may, and an
    /// administrator.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn set_visibility(
        &self,
        room_id: &RoomId,
        user: &UserId,
        is_admin: bool,
        is_public: bool,
    ) -> Result<(), Error> {
        let view = self.0.store.view().await?;
        self.known_head(&view, room_id).await?;
        if !is_admin {
            self.check_rules(&view, user, room_id, "m.room.canonical_alias")
                .await?;
        }
        let mut batch = Batch::new();
        match is_public {
            true => batch.put(&PUBLISHED, room_id.as_str(), ()),
            false => batch.delete(&PUBLISHED, room_id.as_str()),
        }
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict) => Err(Error::Busy),
            Err(CommitError::Failed(error)) => Err(error.into()),
        }
    }

    /// The rooms in the public directory, ten thousand at most, in the order of their ids.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn published(&self, view: &View) -> Result<Vec<OwnedRoomId>, Error> {
        let range = "".."\u{10FFFF}";
        let found: Vec<(String, ())> = view
            .scan(&PUBLISHED, range, Direction::Forward, SCAN_LIMIT)
            .await?;
        found
            .into_iter()
            .map(|(room_id, ())| parse_room(room_id))
            .collect()
    }

    /// Whether a joined user may send state events of this type.
    async fn check_rules(
        &self,
        view: &View,
        user: &UserId,
        room_id: &RoomId,
        event_type: &str,
    ) -> Result<(), Error> {
        if self.is_joined(view, user, room_id).await? {
            let head = self.known_head(view, room_id).await?;
            let levels = self.power_levels(view, &head, head.state).await?;
            if levels.user(user) >= levels.state(event_type) {
                return Ok(());
            }
        }
        Err(Error::forbidden("you may not do this in the room"))
    }
}
