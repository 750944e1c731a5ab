//! Owns the scenario of a user who joins a large room of other servers: how soon the room can be used, how soon it is complete, and
//! what that takes.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Host, Scene, call::Parcel, figures, room::Room, watch::Watch};
use crate::{
    Failure,
    http::Client,
    matrix::{User, contains, next_batch},
    measure::{Meter, Sample, count},
    say,
    server::Server,
};

/// How long the whole may take.
const LONGEST: Duration = Duration::from_secs(600);

/// What clients ask for that load members as they need them: without the quotation marks' and braces' own signs.
const LAZY: &str = "%7B%22room%22%3A%7B%22state%22%3A%7B%22lazy_load_members%22%3Atrue%7D%7D%7D";

/// From the request to join on.
pub(super) async fn join(scene: &Scene, server: &Server) -> Result<Sample, Failure> {
    let room = scene.large.clone().ok_or("no large room was made")?;
    let members = scene.sizes.members + 1;
    scene
        .peer
        .known()
        .rooms
        .insert(room.id.to_string(), room.clone());
    let user = server.crowd.talk[0].clone();
    let since = server.client().now(&user).await?;
    server.until_it_gave_back().await;
    let (watch, meter) = (Watch::start(server), Meter::start(server));
    let begin = Instant::now();
    enter(&scene.hosts[0], server, &user, &room).await?;
    let answer = begin.elapsed().as_secs_f64();
    let news = "news from the others";
    let said = async {
        let first = &scene.hosts[0];
        let event = {
            let mut known = scene.peer.known();
            let room = known.rooms.get_mut(room.id.as_str()).ok_or("no room")?;
            room.say((first, 0), news)?
        };
        let parcel = Parcel::pack(first, "after-the-join", &[event.json()])?;
        parcel.send(&mut server.client()).await?;
        until_seen(server, &user, &since, news).await?;
        Ok::<_, Failure>(begin.elapsed().as_secs_f64())
    };
    let own = async {
        let mut client = server.client();
        client.send(&user, room.id.as_str(), "hello", "own").await?;
        Ok::<_, Failure>(begin.elapsed().as_secs_f64())
    };
    let whole = async {
        until_complete(server, &user, &room, members).await?;
        Ok::<_, Failure>(begin.elapsed().as_secs_f64())
    };
    let (first, own, complete) = tokio::try_join!(said, own, whole)?;
    server.until_it_rests().await;
    let (_, cpu) = meter.so_far(server);
    let (_, growth) = watch.end()?;
    say(&format!("the others were asked: {}", scene.peer.asked()));
    Ok(figures(
        server,
        "federation_join",
        &[
            ("answer_s", answer),
            ("first_s", first),
            ("own_s", own),
            ("complete_s", complete),
            ("growth_mb", growth / 1e6),
            ("cpu_s", cpu),
            ("members", count(members)),
        ],
    ))
}

/// Joins a room, by this server.
pub(super) async fn enter(
    host: &Host,
    server: &Server,
    user: &User,
    room: &Room,
) -> Result<(), Failure> {
    let via = &host.name;
    let path = format!(
        "/_matrix/client/v3/join/{}?via={via}&server_name={via}",
        room.id
    );
    let begin = Instant::now();
    loop {
        // Longer than a caller waits for an answer; who asks again is told the same.
        let asked = server
            .client()
            .call(&Method::POST, &path, &user.token, "{}")
            .await;
        match asked {
            Ok(answer) => return answer.good().map(drop),
            Err(error) if begin.elapsed() > LONGEST => return Err(error),
            Err(error) => say(&format!("{}: {error}", server.name())),
        }
    }
}

/// Syncs until `text` comes.
async fn until_seen(server: &Server, user: &User, since: &str, text: &str) -> Result<(), Failure> {
    let (begin, mut client, mut since) = (Instant::now(), server.client(), since.to_owned());
    while begin.elapsed() < LONGEST {
        let path = format!("/_matrix/client/v3/sync?timeout=1000&filter={LAZY}&since={since}");
        let answer = client.get(user, &path).await?.good()?;
        if contains(&answer, text) {
            return Ok(());
        }
        since = next_batch(&answer)?;
    }
    Err(format!("{text:?} does not come").into())
}

/// Asks for the joined members until all are there.
pub(super) async fn until_complete(
    server: &Server,
    user: &User,
    room: &Room,
    members: usize,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Joined {
        joined: std::collections::HashMap<String, IgnoredAny>,
    }
    let path = format!("/_matrix/client/v3/rooms/{}/joined_members", room.id);
    let (begin, mut seen) = (Instant::now(), String::new());
    let mut client: Client = server.client();
    while begin.elapsed() < LONGEST {
        // While the members are not known, servers let one wait, or say so.
        match client
            .get(user, &path)
            .await
            .and_then(|answer| answer.good())
        {
            Ok(answer) => {
                let joined = serde_json::from_slice::<Joined>(&answer)?.joined.len();
                if joined == members {
                    return Ok(());
                }
                seen = json!(joined).to_string();
            }
            Err(error) => seen = error.to_string(),
        }
        sleep(Duration::from_millis(250)).await;
    }
    Err(format!("not all of {members} members come: {seen}").into())
}
