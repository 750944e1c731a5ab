//! Owns the scenarios that write: accounts, rooms, messages.

use http::Method;
use serde_json::json;

use crate::{Failure, flights::fly, measure::Sample, server::Server, world};

pub(super) async fn register(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let stamp = server.fresh();
    let size = (4, server.size(100, 24));
    fly(server, name, size, async |client, _, number| {
        let body = json!({
            "username": format!("new{stamp}-{number}"),
            "password": format!("the password of {number}"),
            "auth": { "type": "m.login.dummy" },
        });
        let path = "/_matrix/client/v3/register";
        let answer = client
            .call(&Method::POST, path, "", &body.to_string())
            .await?;
        answer.good().map(drop)
    })
    .await
}

pub(super) async fn create_join(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let users = server.crowd.talk.clone();
    let size = (4, server.size(1200, 24));
    let options = json!({ "preset": "public_chat", "room_version": world::ROOM_VERSION });
    fly(server, name, size, async |client, flight, _| {
        let room = client.create_room(&users[2 * flight], &options).await?;
        client.join(&users[2 * flight + 1], &room).await
    })
    .await
}

pub(super) async fn send_1(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let user = server.crowd.talk[20].clone();
    let members = server.crowd.talk[20..22].to_vec();
    let room = world::room(server, "send_1", &members).await?;
    let stamp = server.fresh();
    let size = (1, server.size(2000, 80));
    fly(server, name, size, async |client, _, number| {
        let transaction = format!("{stamp}-{number}");
        client.send(&user, &room, TEXT, &transaction).await
    })
    .await
}

pub(super) async fn send_16(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let users = server.crowd.talk[24..40].to_vec();
    let mut rooms = Vec::new();
    for (number, members) in users.chunks(4).enumerate() {
        rooms.push(world::room(server, &format!("send_16 {number}"), members).await?);
    }
    let stamp = server.fresh();
    let size = (16, server.size(12_000, 240));
    fly(server, name, size, async |client, flight, number| {
        let transaction = format!("{stamp}-{number}");
        client
            .send(&users[flight], &rooms[flight / 4], TEXT, &transaction)
            .await
    })
    .await
}

/// As long as messages usually are.
const TEXT: &str = "Shall we meet at seven in front of the station? I bring the tickets.";
