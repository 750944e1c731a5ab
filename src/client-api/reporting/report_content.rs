//! `POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`

use hearth_users::Session;
use ruma::api::client::room::report_content::v3::{Request, Response};

use super::Report;
use crate::{App, error::Error};

/// Only an event that the reporter can see may be reported.
pub(super) async fn report_content(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    app.rooms
        .visible_event(&view, &session.user_id, &request.room_id, &request.event_id)
        .await?;
    let mut report = Report::by(&app, session.user_id, request.reason.unwrap_or_default())?;
    report.room = Some(request.room_id);
    report.event = Some(request.event_id);
    report.file(&app).await?;
    Ok(Response::new())
}
