//! Owns the pages of the public room list, for clients and for other servers. Must never list a room that its members did
//! not publish.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#published-room-directory>

use hearth_store::View;
use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, OwnedRoomId, UInt,
    directory::{Filter, PublicRoomsChunk, RoomTypeFilter},
    room::{JoinRuleSummary, RestrictedSummary},
};

use crate::{Error, Refusal, RoomSummary, Rooms};

/// Some of the public rooms, and the tokens of the pages around them.
#[derive(Clone, Debug, Default)]
pub struct PublicPage {
    /// The rooms.
    pub rooms: Vec<PublicRoomsChunk>,
    /// The token of the next page.
    pub next: Option<String>,
    /// The token of the page before.
    pub previous: Option<String>,
    /// How many rooms pass the filter.
    pub total: usize,
}

impl RoomSummary {
    /// The form that clients and other servers see. A join rule that they may not know is shown as the strictest one that
    /// they do.
    #[must_use]
    pub fn shown(self) -> ruma::room::RoomSummary {
        let rule = join_rule(&self.join_rule, self.allowed_room_ids);
        let joined = UInt::try_from(self.joined).unwrap_or(UInt::MAX);
        let mut summary = ruma::room::RoomSummary::new(
            self.room_id,
            rule,
            self.guest_can_join,
            joined,
            self.world_readable,
        );
        summary.name = self.name;
        summary.topic = self.topic;
        summary.avatar_url = self.avatar_url.map(OwnedMxcUri::from);
        summary.canonical_alias = self
            .canonical_alias
            .and_then(|alias| OwnedRoomAliasId::try_from(alias).ok());
        summary.room_type = self.room_type.map(Into::into);
        summary.encryption = self.encryption.map(Into::into);
        summary.room_version = Some(self.version.id().clone());
        summary
    }
}

fn join_rule(rule: &str, allowed: Vec<OwnedRoomId>) -> JoinRuleSummary {
    match rule {
        "public" => JoinRuleSummary::Public,
        "knock" => JoinRuleSummary::Knock,
        "private" => JoinRuleSummary::Private,
        "restricted" => JoinRuleSummary::Restricted(RestrictedSummary::new(allowed)),
        "knock_restricted" => JoinRuleSummary::KnockRestricted(RestrictedSummary::new(allowed)),
        _ => JoinRuleSummary::Invite,
    }
}

impl Rooms {
    /// The rooms with the most members first, `limit` at most. A token is how many rooms come before the page.
    ///
    /// # Errors
    /// `Refused` (`InvalidParam`) for a token that this server did not give.
    pub async fn public_page(
        &self,
        view: &View,
        filter: &Filter,
        since: Option<&str>,
        limit: usize,
    ) -> Result<PublicPage, Error> {
        let skip = match since {
            Some(token) => token.parse::<usize>().map_err(|_| {
                Error::refused(Refusal::InvalidParam, "since is not a token of this list")
            })?,
            None => 0,
        };
        let mut rooms = Vec::new();
        for room in self.published(view).await? {
            let Some(summary) = self.summary(view, &room).await? else {
                continue;
            };
            let chunk = PublicRoomsChunk::from(summary.shown());
            if passes_term(filter, &chunk) && passes_type(filter, &chunk) {
                rooms.push(chunk);
            }
        }
        rooms.sort_by(|a, b| {
            (b.num_joined_members, &a.room_id).cmp(&(a.num_joined_members, &b.room_id))
        });
        let total = rooms.len();
        let page: Vec<_> = rooms.into_iter().skip(skip).take(limit).collect();
        let end = skip.saturating_add(page.len());
        Ok(PublicPage {
            next: (end < total && limit > 0).then(|| end.to_string()),
            previous: (skip > 0).then(|| skip.saturating_sub(limit).to_string()),
            total,
            rooms: page,
        })
    }
}

fn passes_term(filter: &Filter, room: &PublicRoomsChunk) -> bool {
    let Some(term) = &filter.generic_search_term else {
        return true;
    };
    let term = term.to_lowercase();
    let alias = room.canonical_alias.as_ref().map(|alias| alias.as_str());
    [room.name.as_deref(), room.topic.as_deref(), alias]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(&term))
}

fn passes_type(filter: &Filter, room: &PublicRoomsChunk) -> bool {
    let wanted = RoomTypeFilter::from(room.room_type.clone());
    filter.room_types.is_empty() || filter.room_types.contains(&wanted)
}
