//! `GET /_matrix/client/v3/rooms/{roomId}/messages`

use hearth_users::Session;
use ruma::{
    RoomId,
    api::{
        Direction, IncomingRequest, Metadata,
        client::message::get_message_events::v3::{Request, Response},
        error::DeserializationError,
    },
};

use super::lazy_members::members_of;
use crate::{App, error::Error, extract, show, tokens};

/// Events on a page at most.
const MOST: usize = 1000;

/// A request whose form is judged only after it is clear that the caller may look into the room.
pub(super) struct Asked {
    room: String,
    request: Result<Request, DeserializationError>,
}

impl Metadata for Asked {
    const METHOD: http::Method = Request::METHOD;
    const RATE_LIMITED: bool = Request::RATE_LIMITED;
    type Authentication = <Request as Metadata>::Authentication;
    type PathBuilder = <Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Request::PATH_BUILDER;
}

impl IncomingRequest for Asked {
    type EndpointError = <Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        Ok(Self {
            room: path_args.first().copied().unwrap_or_default().to_owned(),
            request: Request::try_from_http_request_inner(request, path_args),
        })
    }
}

pub(super) async fn get_message_events(
    app: App,
    session: Session,
    asked: Asked,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    let request = match asked.request {
        Ok(request) => request,
        Err(error) => {
            if let Ok(room) = RoomId::parse(&asked.room) {
                app.rooms
                    .readable_state(&view, &session.user_id, &room)
                    .await?;
            }
            return Err(extract::refuse(error.into()));
        }
    };
    let (room, filter) = (&request.room_id, &request.filter);
    let from = match (&request.from, request.dir) {
        (Some(token), _) => Some(tokens::place(&app, &view, room, token).await?),
        // Now, so that what is said later lies after the start of the page.
        (None, Direction::Backward) => {
            Some(app.rooms.place_at(&view, room, view.position()).await?)
        }
        (None, Direction::Forward) => None,
    };
    let to = tokens::place_of(&app, &view, room, request.to.as_ref()).await?;
    let asked = filter
        .limit
        .map_or(request.limit, |most| most.min(request.limit));
    let page = app
        .rooms
        .page(
            &view,
            &session.user_id,
            room,
            (from, to),
            tokens::direction(request.dir),
            tokens::limit(Some(asked), MOST, MOST),
            |event| hearth_sync::passes_filter(filter, &event.pdu),
        )
        .await?;
    // Anew: where other servers filled a gap, the page holds what an earlier view lacks.
    let view = app.store.view().await?;

    let mut response = Response::new();
    response.start = match (request.from, page.start) {
        (Some(from), _) => from,
        (None, start) => start.map(|place| place.to_string()).unwrap_or_default(),
    };
    response.end = page.end.map(|place| place.to_string());
    if !filter.lazy_load_options.is_disabled() {
        response.state = members_of(&app, &view, &session, room, &page.events).await?;
    }
    response.chunk = show::timeline(&app, &view, &session, &page.events).await?;
    Ok(response)
}
