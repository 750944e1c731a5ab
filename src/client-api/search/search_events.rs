//! `POST /_matrix/client/v3/search`

use hearth_rooms::Question;
use hearth_users::Session;
use ruma::api::client::search::search_events::v3::Request;
use serde::Serialize;

use super::{
    answer::{RoomEvents, Telling},
    seeking::{Place, Seeking},
};
use crate::{
    App,
    answer::{Answer, Json},
    error::Error,
};

#[derive(Default, Serialize)]
struct Found {
    search_categories: Categories,
}

#[derive(Default, Serialize)]
struct Categories {
    #[serde(skip_serializing_if = "Option::is_none")]
    room_events: Option<RoomEvents>,
}

/// Letters of a question at most.
const LONGEST: usize = 1_024;

/// Written out by hand: Ruma's form leaves an empty list of results away, which clients expect.
pub(super) async fn search_events(
    app: App,
    session: Session,
    request: Request,
) -> Result<impl Answer, Error> {
    let Some(criteria) = &request.search_categories.room_events else {
        return Ok(Json(Found::default()));
    };
    if criteria.search_term.len() > LONGEST {
        return Err(Error::invalid_param("the search term is too long"));
    }
    let place: Option<Place> = match request.next_batch.as_deref() {
        // Some clients send the token that they did not get.
        None | Some("") => None,
        Some(token) => Some(token.parse()?),
    };
    let view = app.store.view().await?;
    let answer = match Question::new(&criteria.search_term) {
        None => RoomEvents::default(),
        Some(question) => {
            let seeking = Seeking {
                app: &app,
                view: &view,
                user: &session.user_id,
                criteria,
            };
            let found = seeking.page(&question, place).await?;
            let telling = Telling {
                app: &app,
                view: &view,
                session: &session,
                criteria,
            };
            RoomEvents {
                count: found.count,
                highlights: question.words().to_vec(),
                results: telling.results(&found.matches).await?,
                next_batch: found.next.map(|place| place.to_string()),
                groups: telling.groups(&found.matches),
                state: telling.state(&found.matches).await?,
            }
        }
    };
    let room_events = Some(answer);
    Ok(Json(Found {
        search_categories: Categories { room_events },
    }))
}
