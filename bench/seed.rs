//! Puts accounts without passwords into a store whose server does not run, and prints a name and an access token a line.
//!
//!     hearth-bench-seed CONFIG NAMES
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program of one thread that prints its result"
)]

use std::{env, error::Error, fs};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hearth_base::config::Config;
use hearth_server::{Node, Outside};
use hearth_users::{NewAccount, NewDevice};
use ruma::UserId;

/// How many are made at the same time, so that they share their syncs.
const AT_ONCE: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [config, names] = arguments.as_slice() else {
        return Err("hearth-bench-seed CONFIG NAMES".into());
    };
    let config = Config::load(Some(config.as_ref()), [])?;
    let names = fs::read_to_string(names)?;
    let node = Node::open(&config, Outside::default()).await?;
    let tokens: Vec<(&str, String)> = stream::iter(names.lines())
        .map(|name| register(&node, &config, name))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    node.close().await?;
    for (name, token) in tokens {
        println!("{name} {token}");
    }
    Ok(())
}

async fn register<'a>(
    node: &Node,
    config: &Config,
    name: &'a str,
) -> Result<(&'a str, String), Box<dyn Error>> {
    let user = UserId::parse(format!("@{name}:{}", config.server.name))?;
    let account = NewAccount::new(user, None);
    let login = node
        .users()
        .register(account, Some(NewDevice::default()))
        .await?;
    Ok((
        name,
        login.ok_or("an account without a login")?.access_token,
    ))
}
