//! Owns what scenarios share: rooms that are made once a server. Must never be part of what is measured.

use futures_util::future::try_join_all;
use serde_json::json;

use crate::{
    Failure,
    http::Client,
    matrix::User,
    server::{Kind, Server},
    synapse::{self, Copies, Programs},
};

/// Callers that prepare at the same time.
const AT_ONCE: usize = 16;

/// Of rooms whose version does not matter: the newest that both servers have had for long.
pub(crate) const ROOM_VERSION: &str = "10";

/// Of rooms that are copied for Synapse, and the same for Hearth: their events carry their ids with them.
const COPIED_VERSION: &str = "2";

/// Makes the many rooms that `big` (rooms in which all members are) and `idle` (a room for each who waits) need.
pub(crate) async fn fill(
    server: &mut Server,
    programs: &Programs,
    big: bool,
    idle: bool,
) -> Result<(), Failure> {
    match server.kind {
        Kind::Hearth => fill_by_requests(server, big, idle).await,
        Kind::Synapse => fill_by_copies(server, programs, big, idle).await,
    }
}

async fn fill_by_requests(server: &mut Server, big: bool, idle: bool) -> Result<(), Failure> {
    let crowd = server.crowd.clone();
    if big {
        let made = (0..server.sizes.big_rooms).map(|_| (&crowd.member[0], &crowd.member[1..]));
        let rooms = make_many(server, made.collect()).await?;
        server.rooms.insert("big".to_owned(), rooms);
    }
    if idle {
        let hosts = crowd.host.iter().cycle();
        let made = hosts.zip(crowd.idle.chunks(1));
        let rooms = make_many(server, made.collect()).await?;
        server.rooms.insert("idle".to_owned(), rooms);
    }
    Ok(())
}

/// Rooms by their creators and further members, in their order.
async fn make_many(server: &Server, wanted: Vec<(&User, &[User])>) -> Result<Vec<String>, Failure> {
    let mut rooms = vec![String::new(); wanted.len()];
    let numbered: Vec<_> = wanted.into_iter().enumerate().collect();
    let share = numbered.len().div_ceil(AT_ONCE).max(1);
    let makers = numbered.chunks(share).map(|some| async move {
        let mut client = server.client();
        let mut made = Vec::new();
        for (number, (creator, others)) in some {
            let room = public_room(&mut client, creator, COPIED_VERSION).await?;
            for other in *others {
                client.join(other, &room).await?;
            }
            made.push((*number, room));
        }
        Ok::<_, Failure>(made)
    });
    for (number, room) in try_join_all(makers).await?.into_iter().flatten() {
        rooms[number] = room;
    }
    Ok(rooms)
}

async fn fill_by_copies(
    server: &mut Server,
    programs: &Programs,
    big: bool,
    idle: bool,
) -> Result<(), Failure> {
    let crowd = server.crowd.clone();
    let mut copies = Vec::new();
    if big {
        let template = one_room(server, &crowd.member, COPIED_VERSION).await?;
        copies.push(Copies {
            template,
            copies: server.sizes.big_rooms,
            mark: "big",
            renaming: "X".to_owned(),
        });
    }
    if idle {
        // Names that are not the beginning of other names: with the colon.
        let pair = [crowd.talk[0].clone(), crowd.talk[1].clone()];
        let template = one_room(server, &pair, COPIED_VERSION).await?;
        let renaming = format!(
            "replace(replace(X, '@{}:', '@host' || (n % {}) || ':'), '@{}:', '@idle' || n || ':')",
            pair[0].name,
            crowd.host.len(),
            pair[1].name
        );
        copies.push(Copies {
            template,
            copies: server.sizes.idlers,
            mark: "idle",
            renaming,
        });
    }
    if copies.is_empty() {
        return Ok(());
    }
    synapse::clone_rooms(programs, server, &copies).await?;
    for made in &copies {
        server.rooms.insert(made.mark.to_owned(), made.ids());
    }
    Ok(())
}

async fn public_room(client: &mut Client, user: &User, version: &str) -> Result<String, Failure> {
    let options = json!({ "preset": "public_chat", "room_version": version });
    client.create_room(user, &options).await
}

/// A room of the first of `users`, which all others have joined.
async fn one_room(server: &Server, users: &[User], version: &str) -> Result<String, Failure> {
    let (first, others) = users.split_first().ok_or("a room without users")?;
    let room = public_room(&mut server.client(), first, version).await?;
    let share = others.len().div_ceil(AT_ONCE).max(1);
    let in_room = &room;
    let joins = others.chunks(share).map(|some| async move {
        let mut client = server.client();
        for user in some {
            client.join(user, in_room).await?;
        }
        Ok::<_, Failure>(())
    });
    try_join_all(joins).await?;
    Ok(room)
}

/// The room of this name, in which `users` are; made when it is first asked for.
pub(crate) async fn room(
    server: &mut Server,
    name: &str,
    users: &[User],
) -> Result<String, Failure> {
    if let Some(known) = server.rooms.get(name).and_then(|rooms| rooms.first()) {
        return Ok(known.clone());
    }
    let room = one_room(server, users, ROOM_VERSION).await?;
    server.rooms.insert(name.to_owned(), vec![room.clone()]);
    Ok(room)
}
