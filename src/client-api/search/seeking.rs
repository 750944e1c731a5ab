//! Owns which events a page of results holds: in which rooms is looked, in which order, and where the next page goes on.
//! Bounded in rooms and results, whatever is asked.

use std::{fmt, str::FromStr};

use hearth_rooms::{Head, Match, Membership, Question, Reach, StoredEvent};
use hearth_store::{Position, View};
use hearth_sync::passes_filter;
use ruma::{
    OwnedRoomId, UserId,
    api::client::{
        filter::RoomEventFilter,
        search::search_events::v3::{Criteria, OrderBy, SearchKeys},
    },
};

use crate::{App, error::Error, tokens};

/// Rooms that are searched, those with the newest events.
const MAX_ROOMS: usize = 500;
/// Results that are counted, and among which the best are found.
const MAX_COUNTED: usize = 1_000;
/// Results on a page, unless the client says.
const USUAL: usize = 10;
/// Results on a page at most.
const MOST: usize = 100;

/// Where a page of results goes on. The number of all results is counted once, for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The newest first: those before a position.
    Recent(Position, usize),
    /// The best first: those after the best so many.
    Rank(usize, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recent(position, count) => write!(f, "r{position}_{count}"),
            Self::Rank(after, count) => write!(f, "k{after}_{count}"),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let foreign = || Error::invalid_param("next_batch is not a token of this server");
        let (kind, rest) = text.split_at_checked(1).ok_or_else(foreign)?;
        let (place, count) = rest.split_once('_').ok_or_else(foreign)?;
        let count = count.parse().map_err(|_| foreign())?;
        match kind {
            "r" => {
                let position = place.parse().map(Position).map_err(|_| foreign())?;
                let fits = position <= Position::MAX;
                fits.then_some(Self::Recent(position, count))
                    .ok_or_else(foreign)
            }
            "k" => Ok(Self::Rank(place.parse().map_err(|_| foreign())?, count)),
            _ => Err(foreign()),
        }
    }
}

/// A page of results.
pub(super) struct Found {
    pub(super) matches: Vec<Match>,
    pub(super) count: usize,
    pub(super) next: Option<Place>,
}

/// What a request looks for.
pub(super) struct Seeking<'a> {
    pub(super) app: &'a App,
    pub(super) view: &'a View,
    pub(super) user: &'a UserId,
    pub(super) criteria: &'a Criteria,
}

impl Seeking<'_> {
    /// The page of results at `place`, or the first.
    pub(super) async fn page(
        &self,
        question: &Question,
        place: Option<Place>,
    ) -> Result<Found, Error> {
        let limit = tokens::limit(self.criteria.filter.limit, USUAL, MOST);
        let by_time = matches!(self.criteria.order_by, Some(OrderBy::Recent));
        let end = self.view.position().next();
        let (before, skipped, counted) = match place {
            Some(Place::Recent(position, count)) if by_time => (position, 0, Some(count)),
            Some(Place::Rank(after, count)) if !by_time => {
                (end, after.min(MAX_COUNTED), Some(count))
            }
            Some(_) => return Err(Error::invalid_param("next_batch is of another order")),
            None => (end, 0, None),
        };
        let most = match counted {
            Some(_) if by_time => limit,
            _ => MAX_COUNTED,
        };
        let mut reach = Reach::new(before, most);
        let mut all = Vec::new();
        for (room, head) in self.rooms().await? {
            let wanted = |event: &StoredEvent| self.is_wanted(event);
            let found = self
                .app
                .rooms
                .find(
                    self.view,
                    self.user,
                    (&room, &head),
                    question,
                    &mut reach,
                    wanted,
                )
                .await?;
            all.extend(found);
            keep_best(&mut all, by_time, most);
            if reach.is_spent() {
                break;
            }
            if all.len() == MAX_COUNTED {
                // The count goes no further; what is newer than these still counts for the page.
                reach.most = limit;
            }
        }
        let count = counted.unwrap_or(all.len());
        let matches: Vec<Match> = all.into_iter().skip(skipped).take(limit).collect();
        let last = matches.last().filter(|_| matches.len() == limit);
        let next = last.map(|last| match by_time {
            true => Place::Recent(last.event.position, count),
            false => Place::Rank(skipped + limit, count),
        });
        Ok(Found {
            matches,
            count,
            next,
        })
    }

    /// The rooms that the user is or was in and has not forgotten, as far as the filter lets them through.
    async fn rooms(&self) -> Result<Vec<(OwnedRoomId, Head)>, Error> {
        let mut rooms = self.app.rooms.rooms_of(self.view, self.user).await?;
        rooms.retain(|(room, member)| {
            let was_there = matches!(
                member.membership,
                Membership::Join | Membership::Leave | Membership::Ban
            );
            was_there && passes_room(&self.criteria.filter, room)
        });
        let ids = rooms.iter().map(|(room, _)| &**room);
        let heads = self.app.rooms.heads(self.view, ids).await?;
        let mut rooms: Vec<_> = rooms
            .into_iter()
            .zip(heads)
            .filter_map(|((room, _), head)| Some((room, head?)))
            .collect();
        rooms.sort_unstable_by_key(|(_, head)| std::cmp::Reverse(head.position));
        rooms.truncate(MAX_ROOMS);
        Ok(rooms)
    }

    fn is_wanted(&self, event: &StoredEvent) -> bool {
        let key = match event.pdu.event_type() {
            "m.room.name" => SearchKeys::ContentName,
            "m.room.topic" => SearchKeys::ContentTopic,
            _ => SearchKeys::ContentBody,
        };
        let keys = self.criteria.keys.as_ref();
        keys.is_none_or(|keys| keys.is_empty() || keys.contains(&key))
            && event.redacted_by.is_none()
            && passes_filter(&self.criteria.filter, &event.pdu)
    }
}

fn passes_room(filter: &RoomEventFilter, room: &OwnedRoomId) -> bool {
    !filter.not_rooms.contains(room)
        && filter
            .rooms
            .as_ref()
            .is_none_or(|rooms| rooms.contains(room))
}

/// Puts the best first, and lets go of those that are too many.
fn keep_best(all: &mut Vec<Match>, by_time: bool, most: usize) {
    all.sort_by(|a, b| {
        let by_rank = b.rank.total_cmp(&a.rank).then_with(|| newest_first(a, b));
        if by_time { newest_first(a, b) } else { by_rank }
    });
    all.truncate(most);
}

fn newest_first(a: &Match, b: &Match) -> std::cmp::Ordering {
    b.event.position.cmp(&a.event.position)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        for place in [Place::Recent(Position(7), 3), Place::Rank(20, 300)] {
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for text in [
            "",
            "x",
            "r",
            "r1",
            "k1_",
            "r_1",
            "r99999999999999999999_1",
            "ö1_1",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
