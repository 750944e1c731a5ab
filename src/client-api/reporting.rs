//! Reports of content to the people who run this server. Kept until an administrator takes them
//! off the list; nobody else is told.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#reporting-content>

use hearth_store::{Batch, CommitError, Family, Json, Position, Table};
use http::Method;
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, UInt};
use serde::{Deserialize, Serialize};

use crate::{App, error::Error, routes::Routes};

mod list_reports;
mod report_content;
mod report_room;
mod report_user;

/// Position to report.
const REPORTS: Table<Position, Json<Report>> = Table::new(160, "reports", Family::Records);

/// Where administrators read them.
const LIST: &str = "/_synapse/admin/v1/event_reports";
const ONE: &str = "/_synapse/admin/v1/event_reports/{id}";

/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 4096;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .user(report_content::report_content)
        .user(report_room::report_room)
        .user(report_user::report_user)
        .raw(Method::GET, LIST, list_reports::list_reports)
        .raw(Method::GET, ONE, list_reports::get_report)
        .raw(Method::DELETE, ONE, list_reports::delete_report)
}

/// What somebody reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Report {
    reporter: OwnedUserId,
    at: MilliSecondsSinceUnixEpoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<OwnedRoomId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<OwnedEventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<OwnedUserId>,
    reason: String,
}

impl Report {
    /// A report by `reporter`, now, that names nothing yet.
    ///
    /// # Errors
    /// 413 for a reason that is too long to keep.
    fn by(app: &App, reporter: OwnedUserId, reason: String) -> Result<Self, Error> {
        if reason.len() > LONGEST_REASON {
            return Err(Error::too_large("the reason is too long"));
        }
        let now = UInt::try_from(app.clock.now().0).unwrap_or(UInt::MAX);
        Ok(Self {
            reporter,
            at: MilliSecondsSinceUnixEpoch(now),
            room: None,
            event: None,
            user: None,
            reason,
        })
    }

    /// Keeps the report.
    async fn file(self, app: &App) -> Result<(), Error> {
        let mut batch = Batch::new();
        let position = batch.position();
        batch.put(&REPORTS, position, Json(self));
        commit(app, batch).await
    }
}

async fn commit(app: &App, batch: Batch) -> Result<(), Error> {
    match app.store.commit(batch).await {
        Ok(_) => Ok(()),
        Err(CommitError::Failed(error)) => Err(error.into()),
        // Nothing is asserted.
        Err(error @ CommitError::Conflict) => Err(Error::unavailable(&error)),
    }
}
