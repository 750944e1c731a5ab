//! `POST /_matrix/client/v3/rooms/{roomId}/report`

use hearth_users::Session;
use ruma::api::client::room::report_room::v3::{Request, Response};

use super::Report;
use crate::{App, error::Error};

pub(super) async fn report_room(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let view = app.store.view().await?;
    if app.rooms.head(&view, &request.room_id).await?.is_none() {
        return Err(Error::not_found("no such room"));
    }
    let mut report = Report::by(&app, session.user_id, request.reason)?;
    report.room = Some(request.room_id);
    report.file(&app).await?;
    Ok(Response::new())
}
