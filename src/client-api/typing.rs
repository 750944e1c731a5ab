//! Who is typing: `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#typing-notifications>

use std::time::Duration;

use hearth_users::Session;
use ruma::api::client::typing::create_typing_event::v3::{Request, Response, Typing};

use crate::{App, error::Error, routes::Routes};

/// For how long a user is shown to type at most, unless the client says so again.
const LONGEST: Duration = Duration::from_secs(120);

/// The endpoint of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().user(create_typing_event)
}

async fn create_typing_event(
    app: App,
    session: Session,
    request: Request,
) -> Result<Response, Error> {
    if request.user_id != session.user_id {
        return Err(Error::forbidden(
            "users say only of themselves that they type",
        ));
    }
    let timeout = match request.state {
        Typing::Yes(info) => Some(info.timeout.min(LONGEST)),
        Typing::No => None,
    };
    app.rooms
        .set_typing(&session.user_id, &request.room_id, timeout)
        .await?;
    Ok(Response::new())
}
