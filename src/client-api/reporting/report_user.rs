//! `POST /_matrix/client/v3/users/{userId}/report`

use hearth_users::Session;
use ruma::api::client::reporting::report_user::v3::{Request, Response};

use super::Report;
use crate::{App, error::Error};

/// Taken for any user id, as the specification allows, so that nobody learns who has an account.
pub(super) async fn report_user(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    let mut report = Report::by(&app, session.user_id, request.reason)?;
    report.user = Some(request.user_id);
    report.file(&app).await?;
    Ok(Response::new())
}
