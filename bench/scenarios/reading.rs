//! Owns the scenarios that read: first and empty syncs, pages, look-ups.

use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    Failure,
    flights::fly,
    http::Client,
    matrix::{NAME, next_batch},
    measure::Sample,
    server::Server,
    world,
};

/// `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":10}}}`, what clients ask for.
const LAZY: &str = "%7B%22room%22%3A%7B%22state%22%3A%7B%22lazy_load_members%22%3Atrue%7D%2C%22timeline%22%3A%7B%22limit%22%3A10%7D%7D%7D";

pub(super) async fn initial_sync(
    server: &mut Server,
    name: &str,
    round: usize,
) -> Result<Sample, Failure> {
    let users = server.crowd.member.clone();
    let total = server.size(20, 4);
    // Others in each round: Synapse keeps the answers to first syncs for a while.
    let first = round * (total + 1);
    fly(server, name, (1, total), async |client, _, number| {
        let user = &users[(first + number) % users.len()];
        let path = format!("/_matrix/client/v3/sync?timeout=0&filter={LAZY}");
        client.get(user, &path).await?.good().map(drop)
    })
    .await
}

pub(super) async fn empty_sync(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let users = server.crowd.member[..4].to_vec();
    let since = now_of_all(server, &users).await?;
    let size = (4, server.size(8000, 400));
    let since: Vec<_> = since.into_iter().map(Mutex::new).collect();
    fly(server, name, size, async |client, flight, _| {
        // As clients do: from the token of the answer before.
        let mut since = since[flight].lock().await;
        let answer = client.sync(&users[flight], &since, 0).await?;
        *since = next_batch(&answer)?;
        Ok(())
    })
    .await
}

async fn now_of_all(
    server: &Server,
    users: &[crate::matrix::User],
) -> Result<Vec<String>, Failure> {
    let asked = users
        .iter()
        .map(|user| async { server.client().now(user).await });
    try_join_all(asked).await
}

pub(super) async fn pages(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    #[derive(Deserialize)]
    struct Page {
        end: Option<String>,
    }
    let users = server.crowd.talk[40..42].to_vec();
    let is_new = !server.rooms.contains_key("pages");
    let room = world::room(server, "pages", &users).await?;
    if is_new {
        let messages = server.sizes.messages;
        let senders = (0..8).map(|sender| {
            let (mut client, room, user) = (server.client(), &room, &users[0]);
            async move {
                for number in (sender..messages).step_by(8) {
                    let text = format!("message {number} of those that are read page by page");
                    client
                        .send(user, room, &text, &format!("page-{number}"))
                        .await?;
                }
                Ok::<_, Failure>(())
            }
        });
        try_join_all(senders).await?;
    }
    let from = Mutex::new(None::<String>);
    let size = (1, server.size(1000, 60));
    fly(server, name, size, async |client: &mut Client, _, _| {
        let mut from = from.lock().await;
        let mut path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100");
        if let Some(from) = &*from {
            path += &format!("&from={from}");
        }
        let page = client.get(&users[0], &path).await?.good()?;
        *from = serde_json::from_slice::<Page>(&page)?.end;
        Ok(())
    })
    .await
}

pub(super) async fn profile(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let users = server.crowd.talk.clone();
    let size = (4, server.size(8000, 400));
    fly(server, name, size, async |client, flight, number| {
        let other = users[number % users.len()].id();
        let path = format!("/_matrix/client/v3/profile/{other}");
        client.get(&users[flight], &path).await?.good().map(drop)
    })
    .await
}

pub(super) async fn directory(server: &mut Server, name: &str) -> Result<Sample, Failure> {
    let user = server.crowd.talk[0].clone();
    if !server.rooms.contains_key("directory") {
        let options = json!({ "preset": "public_chat", "room_alias_name": "bench" });
        let room = server.client().create_room(&user, &options).await?;
        server.rooms.insert("directory".to_owned(), vec![room]);
    }
    let size = (4, server.size(8000, 400));
    fly(server, name, size, async |client, _, _| {
        let path = format!("/_matrix/client/v3/directory/room/%23bench:{NAME}");
        client.get(&user, &path).await?.good().map(drop)
    })
    .await
}
