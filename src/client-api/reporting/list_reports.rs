//! `GET /_synapse/admin/v1/event_reports` and `GET`, `DELETE /_synapse/admin/v1/event_reports/{reportId}`, documented at
//! <https://element-hq.github.io/synapse/latest/admin_api/event_reports.html>. Reports of rooms and of users are among them.

use std::collections::HashMap;

use axum::{
    body::Body,
    extract::{FromRequestParts, Query, RawPathParams},
    response::Response,
};
use hearth_store::{Batch, Direction, Json, Position, SCAN_LIMIT};
use http::{StatusCode, request::Parts};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{REPORTS, Report, commit};
use crate::{App, answer::json_response, error::Error, extract};

/// Reports on a page, unless the caller says, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Lets administrators through.
async fn check(app: &App, parts: &Parts) -> Result<(), Error> {
    let session = extract::session(app, parts)
        .await?
        .ok_or_else(|| Error::missing_token("an access token is needed"))?;
    match session.admin {
        true => Ok(()),
        false => Err(Error::forbidden("you are no administrator")),
    }
}

/// The newest first, from the one whose number `from` names on; with `dir=f` the oldest first.
pub(super) async fn list_reports(app: App, mut parts: Parts, _: Body) -> Result<Response, Error> {
    check(&app, &parts).await?;
    let query = Query::<HashMap<String, String>>::from_request_parts(&mut parts, &app).await;
    let Query(query) = query.map_err(|_| Error::invalid_param("the query cannot be read"))?;
    let number = |name: &str| -> Result<Option<u64>, Error> {
        let text = query.get(name).map(|text| text.parse());
        text.transpose()
            .map_err(|_| Error::invalid_param(format!("{name} must be a number")))
    };
    let direction = match query.get("dir").map(String::as_str) {
        Some("f") => Direction::Forward,
        None | Some("b") => Direction::Backward,
        Some(_) => return Err(Error::invalid_param("dir must be f or b")),
    };
    let limit = number("limit")?.map_or(USUAL, |n| usize::try_from(n).unwrap_or(MOST));
    let limit = limit.clamp(1, MOST);
    let from = number("from")?.filter(|from| *from > 0).map(Position);
    let (start, end) = match direction {
        Direction::Forward => (from.unwrap_or(Position::ZERO), Position::MAX),
        Direction::Backward => (
            Position::ZERO,
            from.map_or(Position::MAX, |from| {
                Position(from.0.saturating_add(1)).min(Position::MAX)
            }),
        ),
    };
    let view = app.store.view().await?;
    let mut found = view
        .scan(&REPORTS, start..end, direction, limit + 1)
        .await?;
    let next = (found.len() > limit).then(|| found.pop()).flatten();
    let all = view
        .scan(
            &REPORTS,
            Position::ZERO..Position::MAX,
            Direction::Forward,
            SCAN_LIMIT,
        )
        .await?;
    let shown = found
        .into_iter()
        .map(|(position, Json(report))| Shown::new(position, report));
    let page = Page {
        event_reports: shown.collect(),
        total: all.len(),
        next_token: next.map(|(position, _)| position.0),
    };
    json_response(StatusCode::OK, &page)
}

/// One report, with the event as it is now.
pub(super) async fn get_report(app: App, mut parts: Parts, _: Body) -> Result<Response, Error> {
    check(&app, &parts).await?;
    let position = named(&app, &mut parts).await?;
    let view = app.store.view().await?;
    let Json(report) = view
        .get(&REPORTS, position)
        .await?
        .ok_or_else(|| Error::not_found("there is no such report"))?;
    let mut shown = Shown::new(position, report);
    if let Some(id) = &shown.event_id
        && let Some(event) = app.rooms.event(&view, id).await?
    {
        let json = RawValue::from_string(event.pdu.json().to_owned());
        shown.event_json = Some(json.map_err(|error| Error::internal(&error))?);
    }
    json_response(StatusCode::OK, &shown)
}

/// Takes a report that was looked at off the list.
pub(super) async fn delete_report(app: App, mut parts: Parts, _: Body) -> Result<Response, Error> {
    check(&app, &parts).await?;
    let position = named(&app, &mut parts).await?;
    let view = app.store.view().await?;
    if view.get(&REPORTS, position).await?.is_none() {
        return Err(Error::not_found("there is no such report"));
    }
    let mut batch = Batch::new();
    batch.delete(&REPORTS, position);
    commit(&app, batch).await?;
    json_response(StatusCode::OK, &json!({}))
}

async fn named(app: &App, parts: &mut Parts) -> Result<Position, Error> {
    let arguments = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| Error::invalid_param("the path is not valid UTF-8"))?;
    let number = arguments
        .iter()
        .next()
        .and_then(|(_, text)| text.parse().ok());
    number
        .map(Position)
        .filter(|position| *position < Position::MAX)
        .ok_or_else(|| Error::invalid_param("a report is named by its number"))
}

/// A page of the list.
#[derive(Serialize)]
struct Page {
    event_reports: Vec<Shown>,
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<u64>,
}

/// A report in Synapse's form, with its event as it is now.
#[derive(Serialize)]
struct Shown {
    id: u64,
    received_ts: MilliSecondsSinceUnixEpoch,
    user_id: OwnedUserId,
    room_id: Option<OwnedRoomId>,
    event_id: Option<OwnedEventId>,
    reported_user_id: Option<OwnedUserId>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_json: Option<Box<RawValue>>,
}

impl Shown {
    fn new(position: Position, report: Report) -> Self {
        Self {
            id: position.0,
            received_ts: report.at,
            user_id: report.reporter,
            room_id: report.room,
            event_id: report.event,
            reported_user_id: report.user,
            reason: report.reason,
            event_json: None,
        }
    }
}
