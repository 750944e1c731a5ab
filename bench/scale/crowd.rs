//! Owns the accounts of those who wait, and their rooms: a few of them, who wait at different nodes, with one who speaks.

use std::{collections::HashMap, path::Path};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio::process::Command;

use super::cluster::Cluster;
use crate::{Failure, http::Client, matrix::User, server, world::ROOM_VERSION};

/// How many of them are in a room together.
pub(crate) const TOGETHER: usize = 4;

/// How many speak, each in many rooms.
const HOSTS: usize = 200;

/// How many rooms are made at once.
const AT_ONCE: usize = 96;

/// Everybody.
pub(crate) struct Crowd {
    pub(crate) waiting: Vec<User>,
    hosts: Vec<User>,
    /// In each are [`TOGETHER`] of those who wait, in their order.
    pub(crate) rooms: Vec<String>,
}

impl Crowd {
    /// Makes accounts without passwords, whose hashing would take longer than everything else.
    pub(crate) async fn register(
        cluster: &Cluster,
        programs: &Path,
        count: usize,
    ) -> Result<Self, Failure> {
        let waiting = (0..count).map(|number| format!("wait{number}"));
        let hosts = (0..HOSTS).map(|number| format!("host{number}"));
        let names: Vec<String> = waiting.chain(hosts).collect();
        std::fs::write(cluster.folder().join("names"), names.join("\n"))?;
        let mut seed = Command::new(programs.join("hearth-bench-seed"));
        seed.current_dir(cluster.folder())
            .args(["node0.toml", "names"]);
        let tokens = server::run(&mut seed).await?;
        let tokens: HashMap<&str, &str> = tokens
            .lines()
            .filter_map(|line| line.split_once(' '))
            .collect();
        let user = |name: String| {
            let token = tokens.get(name.as_str());
            let token = token.ok_or_else(|| format!("no account {name}"))?;
            let token = (*token).to_owned();
            Ok::<_, Failure>(User { name, token })
        };
        let mut waiting = names.into_iter().map(user).collect::<Result<Vec<_>, _>>()?;
        let hosts = waiting.split_off(count);
        Ok(Self {
            waiting,
            hosts,
            rooms: Vec::new(),
        })
    }

    /// Who speaks in a room.
    pub(crate) fn host(&self, room: usize) -> &User {
        &self.hosts[room % self.hosts.len()]
    }

    /// Makes the rooms, by all nodes.
    pub(crate) async fn make_rooms(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let rooms = self.waiting.chunks_exact(TOGETHER).enumerate();
        let rooms = stream::iter(rooms).map(|(number, members)| {
            let (address, host) = (cluster.address(number), self.host(number));
            async move {
                let mut client = Client::new(address);
                let options = json!({ "preset": "public_chat", "room_version": ROOM_VERSION });
                let room = client.create_room(host, &options).await?;
                for member in members {
                    client.join(member, &room).await?;
                }
                Ok::<_, Failure>(room)
            }
        });
        self.rooms = rooms.buffered(AT_ONCE).try_collect().await?;
        Ok(())
    }
}
