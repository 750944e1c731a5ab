//! A room on two servers that could not reach each other for a while: both changed its state, and it had to be resolved. The other
//! server's key then signs what is asked as a server.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#request-authentication>

use std::{fs, time::Duration};

use hearth_protocol::SigningKey;
use hearth_testkit::Far;
use ruma::ServerName;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    caller::{Caller, text},
    place::{Running, Site},
    world::{Room, World},
};

/// How often they disagree.
const TIMES: usize = 3;

/// For what one of them said to arrive at the other.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(50);

/// Lets that happen, and adds the room to the world.
pub(crate) async fn disagree(
    site: &Site,
    server: &Running,
    world: &mut World,
) -> Result<(), Failure> {
    let caller = &server.caller;
    let mut far = Far::start(&site.hearth, &site.trust, &site.folder)?;
    let there = Caller::to(far.port())?;
    until(async || there.is_answered().await).await?;
    let account = json!({
        "username": "far",
        "password": "the password of far",
        "auth": { "type": "m.login.dummy" },
    });
    let made = there
        .post("/_matrix/client/v3/register", "", &account)
        .await?;
    let stranger = text(&made, "access_token")?;
    let own = world.people[0].token().to_owned();
    let options = json!({
        "preset": "public_chat",
        "room_version": "10",
        "power_level_content_override": { "state_default": 0 },
    });
    let made = caller
        .post("/_matrix/client/v3/createRoom", &own, &options)
        .await?;
    let id = text(&made, "room_id")?;
    let via = format!("/_matrix/client/v3/join/{id}?via={}", site.name());
    there.post(&via, &stranger, &json!({})).await?;
    let mut notable = Vec::new();
    for time in 0..TIMES {
        far.stop().await?;
        let here = Side {
            caller,
            token: &own,
            room: &id,
            name: "here",
        };
        notable.push(here.change(time).await?);
        // What was said here cannot have arrived there before something is said there.
        server.pause()?;
        far.run(&site.trust, &site.folder)?;
        until(async || there.is_answered().await).await?;
        let other = Side {
            caller: &there,
            token: &stranger,
            room: &id,
            name: "there",
        };
        let said = other.change(time).await?;
        server.go_on()?;
        let path = format!("/_matrix/client/v3/rooms/{id}/event/{said}");
        until(async || caller.get(&path, &own).await.is_ok()).await?;
        notable.push(said);
    }
    far.stop().await?;
    world.by_servers = signed(site, &far, &id, &notable)?;
    world.sent += TIMES * 6;
    world.rooms.push(Room {
        id,
        members: vec![0],
        alias: None,
        is_space: false,
        notable,
    });
    Ok(())
}

/// One of the two servers.
struct Side<'a> {
    caller: &'a Caller,
    token: &'a str,
    room: &'a str,
    name: &'a str,
}

impl Side<'_> {
    /// Changes what both change, and something else; gives the event of a message after that.
    async fn change(&self, time: usize) -> Result<String, Failure> {
        let (name, base) = (self.name, format!("/_matrix/client/v3/rooms/{}", self.room));
        let topic = json!({ "topic": format!("the topic of {name}, {time}") });
        let path = format!("{base}/state/m.room.topic");
        self.caller.put(&path, self.token, &topic).await?;
        let path = format!("{base}/state/org.example.{name}/{time}");
        self.caller
            .put(&path, self.token, &json!({ "of": name }))
            .await?;
        let path = format!("{base}/send/m.room.message/{name}{time}");
        let body = json!({ "msgtype": "m.text", "body": format!("said {name}") });
        text(
            &self.caller.put(&path, self.token, &body).await?,
            "event_id",
        )
    }
}

async fn until(is_so: impl AsyncFn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        if Instant::now() > deadline {
            return Err("the other server does not do what it should".into());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// What the other server may ask, each with its `Authorization`.
fn signed(
    site: &Site,
    far: &Far,
    room: &str,
    events: &[String],
) -> Result<Vec<(String, String)>, Failure> {
    let (from, to) = (far.name(), site.name());
    #[allow(clippy::disallowed_methods, reason = "a short file")]
    let key = fs::read_to_string(far.key_file())?;
    let key = SigningKey::from_text(<&ServerName>::try_from(from.as_str())?, &key)?;
    let mut paths = vec![
        format!("/_matrix/federation/v1/query/profile?user_id=@person1:{to}"),
        format!("/_matrix/federation/v1/query/directory?room_alias=%23room0:{to}"),
        format!("/_matrix/federation/v1/user/devices/@person0:{to}"),
        "/_matrix/federation/v1/publicRooms?limit=20".to_owned(),
    ];
    for event in events {
        paths.extend([
            format!("/_matrix/federation/v1/event/{event}"),
            format!("/_matrix/federation/v1/event_auth/{room}/{event}"),
            format!("/_matrix/federation/v1/state/{room}?event_id={event}"),
            format!("/_matrix/federation/v1/state_ids/{room}?event_id={event}"),
            format!("/_matrix/federation/v1/backfill/{room}?v={event}&limit=50"),
        ]);
    }
    let signed = paths.into_iter().map(|path| {
        // Keys in their order, no spaces: the canonical form.
        let object = json!({ "destination": to, "method": "GET", "origin": from, "uri": path });
        let signature = key.sign_bytes(object.to_string().as_bytes());
        let header = format!(
            r#"X-Matrix origin="{from}",destination="{to}",key="{}",sig="{signature}""#,
            key.id()
        );
        (path, header)
    });
    Ok(signed.collect())
}
