//! Owns what a request looks at: one view, and in it the stretch of the log that the device has not seen, as a whole and
//! for a room. Must never look past the view.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#syncing>

use std::{collections::HashSet, sync::Arc};

use hearth_rooms::{Head, Member, Membership, Rooms, Root, Signals, StateChange};
use hearth_store::{Position, View};
use hearth_users::{Session, Users};
use ruma::{OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::{Error, Request, members, rules::Rules, service::Shared, show::Look, verdicts};

/// What every stream reads from.
pub(crate) struct Reading<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) view: &'a View,
    pub(crate) session: &'a Session,
    pub(crate) request: &'a Request,
    pub(crate) look: Arc<Look>,
    /// Whose messages and invites the user does not want.
    pub(crate) ignored: HashSet<OwnedUserId>,
    /// The user's push rules, once they were asked for.
    rules: OnceCell<Option<Arc<Rules>>>,
}

impl<'a> Reading<'a> {
    pub(crate) async fn open(
        shared: &'a Shared,
        view: &'a View,
        session: &'a Session,
        request: &'a Request,
    ) -> Result<Self, Error> {
        let look = Look::of(session, &request.filter, shared.clock.now());
        let ignored = shared
            .users
            .account_data(view, &session.user_id, None, "m.ignored_user_list")
            .await?;
        Ok(Self {
            shared,
            view,
            session,
            request,
            look: Arc::new(look),
            ignored: ignored.map_or_else(HashSet::new, |list| ignored_in(list.get())),
            rules: OnceCell::new(),
        })
    }

    /// The user's push rules, if they are other than the predefined ones.
    pub(crate) async fn own_rules(&self) -> Result<Option<Arc<Rules>>, Error> {
        let read = || verdicts::own_rules(self.shared, self.view, self.user());
        Ok(self.rules.get_or_try_init(read).await?.clone())
    }

    pub(crate) fn rooms(&self) -> &'a Rooms {
        &self.shared.rooms
    }

    pub(crate) fn users(&self) -> &'a Users {
        &self.shared.users
    }

    pub(crate) fn user(&self) -> &'a UserId {
        &self.session.user_id
    }

    /// Up to where the device has seen the log; nothing for a first sync. A token from a log that was longer once, as before
    /// the restore of a backup, counts as of now.
    pub(crate) fn since(&self) -> Option<Position> {
        let since = self.request.since?.position;
        Some(since.min(self.upto()))
    }

    /// [`Reading::since`], from the beginning of the log for a first sync.
    pub(crate) fn after(&self) -> Position {
        self.since().unwrap_or(Position::ZERO)
    }

    pub(crate) fn upto(&self) -> Position {
        self.view.position()
    }

    /// Whether nothing happened in a room, where the newest signal is at `signalled`, that its timeline, its state or its
    /// signals would tell the device.
    pub(crate) fn is_still(
        &self,
        head: &Head,
        member: &Member,
        signalled: Option<Position>,
    ) -> bool {
        !self.request.full_state
            && self.since().is_some_and(|since| {
                head.position <= since
                    && member.position <= since
                    && signalled.is_none_or(|signalled| signalled <= since)
            })
    }
}

/// The stretch of a room that the device has not seen.
pub(crate) struct RoomWindow<'a> {
    pub(crate) id: &'a RoomId,
    pub(crate) member: &'a Member,
    pub(crate) head: &'a Head,
    /// The last position that the user may see.
    pub(crate) upto: Position,
    /// The state there.
    pub(crate) end: Root,
    /// Up to where the device has seen the room, and the state there; nothing for a room that is new to it.
    pub(crate) since: Option<(Position, Root)>,
    /// What is different in the state; empty for a room that is new to the device.
    pub(crate) changes: Vec<StateChange>,
    /// What was signalled in it; empty for a room that is new to the device.
    pub(crate) signals: Signals,
}

impl<'a> RoomWindow<'a> {
    /// The window of a room up to a position and the state there.
    pub(crate) async fn open(
        reading: &Reading<'_>,
        id: &'a RoomId,
        member: &'a Member,
        head: &'a Head,
        (upto, end): (Position, Root),
    ) -> Result<Self, Error> {
        let since = seen(reading, id, member, head).await?;
        let changes = match since {
            Some((_, root)) if root != end => {
                let rooms = reading.rooms();
                rooms.state_diff(reading.view, head, root, end).await?
            }
            _ => Vec::new(),
        };
        Ok(Self {
            id,
            member,
            head,
            upto,
            end,
            since,
            changes,
            signals: Signals::default(),
        })
    }

    /// Reads what was signalled since, up to `signalled`, where the newest signal is.
    pub(crate) async fn with_signals(
        mut self,
        reading: &Reading<'_>,
        signalled: Option<Position>,
    ) -> Result<Self, Error> {
        if let (Some((since, _)), Some(signalled)) = (self.since, signalled)
            && signalled > since
        {
            let rooms = reading.rooms();
            self.signals = rooms
                .signals_since(reading.view, self.id, since, self.upto)
                .await?;
        }
        Ok(self)
    }

    /// Whether all of it has to be told: it is new to the device, or the client wants it so.
    pub(crate) fn is_whole(&self, reading: &Reading<'_>) -> bool {
        self.since.is_none() || reading.request.full_state
    }
}

/// Up to where the device has seen a room, and the state there: nothing unless the user was joined at that moment.
async fn seen(
    reading: &Reading<'_>,
    id: &RoomId,
    member: &Member,
    head: &Head,
) -> Result<Option<(Position, Root)>, Error> {
    let Some(since) = reading.since() else {
        return Ok(None);
    };
    if head.position <= since && member.membership == Membership::Join {
        return Ok(Some((since, head.state)));
    }
    let (rooms, view) = (reading.rooms(), reading.view);
    let newest = rooms
        .newest(view, (id, head), (Position::ZERO, since), 1)
        .await?;
    let Some(newest) = newest.first() else {
        return Ok(None);
    };
    let mut root = rooms.current_after(view, newest).await?;
    if rooms.may_have_gaps(view, id, head).await? {
        let completed = rooms.completed_at(view, id).await?;
        if completed.is_some_and(|at| since < at) && !members::is_lazy(reading) {
            // While its members were not known the room was not shown.
            return Ok(None);
        }
        root = rooms.shown_after(view, newest, since).await?;
    }
    let was_joined = (member.position <= since && member.membership == Membership::Join)
        || reading
            .rooms()
            .membership_at(reading.view, head, root, reading.user())
            .await?
            == Membership::Join;
    Ok(was_joined.then_some((since, root)))
}

fn ignored_in(content: &str) -> HashSet<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: std::collections::HashMap<OwnedUserId, serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Content>(content)
        .map(|content| content.ignored_users.into_keys().collect())
        .unwrap_or_default()
}
