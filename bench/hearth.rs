//! Owns starting Hearth: configuration, accounts, process. Must never change anything that speed depends on but the
//! number of connections: what is measured is what everybody gets.

use std::{collections::HashMap, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    Failure,
    server::{self, Crowd, Kind, Server, text},
    sizes::Sizes,
};

/// Starts Hearth, whose programs are in `programs`. `federation` is what is said in the configuration of other servers.
pub(crate) async fn start(
    programs: &Path,
    sizes: Sizes,
    federation: &str,
) -> Result<Server, Failure> {
    let folder = TempDir::with_prefix("hearth-bench-")?;
    let address = server::free_address().await?;
    let config = folder.path().join("hearth.toml");
    std::fs::write(&config, configuration(address) + federation)?;
    let mut server = Server::new(Kind::Hearth, sizes, address, folder);
    server.crowd = crowd(programs, &server).await?;
    let command = [
        text(&programs.join("hearth")),
        "serve".into(),
        "--config".into(),
        text(&config),
    ];
    server.start(&command, false, "-TERM")?;
    server.until_it_answers().await?;
    Ok(server)
}

fn configuration(address: std::net::SocketAddr) -> String {
    format!(
        "[server]\nname = \"localhost\"\nsigning_key_file = \"signing.key\"\ncontrol_socket = \"control.sock\"\n\
         [listen]\naddresses = [\"{address}\"]\nmax_connections = 16384\n\
         [store]\npath = \"store\"\ndurability = \"full\"\n\
         [registration]\nmode = \"open\"\n\
         [limits]\nrate_limit = false\n"
    )
}

/// Accounts without passwords, whose hashing would take longer than all scenarios: put in before the server starts.
async fn crowd(programs: &Path, server: &Server) -> Result<Crowd, Failure> {
    let mut names = Vec::new();
    Crowd::new(&server.sizes, |name| {
        names.push(name.to_owned());
        Ok(String::new())
    })?;
    let list = server.folder.path().join("names");
    std::fs::write(&list, names.join("\n"))?;
    let mut seed = Command::new(programs.join("hearth-bench-seed"));
    seed.current_dir(server.folder.path())
        .args(["hearth.toml", "names"]);
    let tokens = server::run(&mut seed).await?;
    let mut tokens: HashMap<&str, &str> = tokens
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    Crowd::new(&server.sizes, |name| {
        let token = tokens
            .remove(name)
            .ok_or_else(|| format!("no account {name}"))?;
        Ok(token.to_owned())
    })
}
