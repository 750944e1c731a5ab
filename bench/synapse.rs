//! Owns starting Synapse from its package on a PostgreSQL of its own, and filling it. Must never make it slower than it
//! is: rate limits are off and its log is quiet; the rest is as it comes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

use crate::{
    Failure,
    server::{self, Crowd, Kind, Server, text},
    sizes::Sizes,
};

/// Where Synapse and PostgreSQL are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Python with the package matrix-synapse.
    pub(crate) python: PathBuf,
    /// The folder of `postgres`, `initdb` and `psql`.
    pub(crate) postgres: PathBuf,
    /// The port of the database, chosen at the start.
    pub(crate) port: u16,
}

/// Starts PostgreSQL and Synapse. `federation` is what is said in the configuration of other servers.
pub(crate) async fn start(
    programs: &mut Programs,
    sizes: Sizes,
    federation: &str,
) -> Result<Server, Failure> {
    let folder = TempDir::with_prefix("synapse-bench-")?;
    let address = server::free_address().await?;
    let mut server = Server::new(Kind::Synapse, sizes, address, folder);
    start_database(programs, &mut server).await?;
    let path = server.folder.path();
    std::fs::write(path.join("log.yaml"), LOG)?;
    std::fs::write(
        path.join("homeserver.yaml"),
        configuration(programs.port, address.port()) + federation,
    )?;
    let mut keys = Command::new(&programs.python);
    keys.current_dir(path)
        .args(ARGUMENTS)
        .arg("--generate-keys");
    server::run(&mut keys).await?;
    start_synapse(programs, &mut server).await?;
    seed(programs, &mut server).await?;
    Ok(server)
}

const ARGUMENTS: [&str; 4] = ["-m", "synapse.app.homeserver", "-c", "homeserver.yaml"];

const LOG: &str = "version: 1\nhandlers: {file: {class: logging.FileHandler, filename: log}}\n\
                   root: {level: WARNING, handlers: [file]}\ndisable_existing_loggers: false\n";

async fn start_database(programs: &mut Programs, server: &mut Server) -> Result<(), Failure> {
    let database = server.folder.path().join("database");
    std::fs::create_dir(&database)?;
    // The user postgres has to reach its folder, and to own it.
    server::run(Command::new("chmod").arg("711").arg(server.folder.path())).await?;
    server::run(Command::new("chown").arg("postgres").arg(&database)).await?;
    let mut init = Command::new("runuser");
    init.args(["-u", "postgres", "--"])
        .arg(programs.postgres.join("initdb"));
    init.args([
        "-D",
        &text(&database),
        "-E",
        "UTF8",
        "--locale=C",
        "-A",
        "trust",
        "-U",
        "postgres",
    ]);
    server::run(init.current_dir(&database)).await?;
    let address = server::free_address().await?;
    programs.port = address.port();
    let command = [
        text(&programs.postgres.join("postgres")),
        "-D".into(),
        text(&database),
        format!("-cport={}", programs.port),
        "-clisten_addresses=127.0.0.1".into(),
        format!("-cunix_socket_directories={}", text(&database)),
    ];
    server.start(&command, true, "-INT")?;
    server::until_it_listens(address).await?;
    let create =
        "CREATE DATABASE synapse TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";
    // It listens before it takes anybody in.
    let mut tries_left = 100;
    loop {
        match query(programs, "postgres", create).await {
            Ok(()) => return Ok(()),
            Err(error) if tries_left == 0 => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
        tries_left -= 1;
    }
}

fn configuration(database: u16, port: u16) -> String {
    let unlimited = "{per_second: 100000, burst_count: 100000}";
    format!(
        "server_name: localhost
pid_file: pid
listeners:
  - {{port: {port}, type: http, bind_addresses: [127.0.0.1], resources: [{{names: [client, federation], compress: false}}]}}
database:
  name: psycopg2
  args: {{user: postgres, host: 127.0.0.1, port: {database}, dbname: synapse, cp_min: 5, cp_max: 10}}
log_config: log.yaml
media_store_path: media
signing_key_path: signing.key
registration_shared_secret: one
macaroon_secret_key: two
form_secret: three
report_stats: false
trusted_key_servers: []
enable_registration: true
enable_registration_without_verification: true
rc_message: {unlimited}
rc_registration: {unlimited}
rc_room_creation: {unlimited}
rc_login: {{address: {unlimited}, account: {unlimited}, failed_attempts: {unlimited}}}
rc_joins: {{local: {unlimited}, remote: {unlimited}}}
rc_joins_per_room: {unlimited}
rc_invites: {{per_room: {unlimited}, per_user: {unlimited}, per_issuer: {unlimited}}}
"
    )
}

async fn start_synapse(programs: &Programs, server: &mut Server) -> Result<(), Failure> {
    let mut command = vec![text(&programs.python)];
    command.extend(ARGUMENTS.map(str::to_owned));
    server.start(&command, false, "-TERM")?;
    server.until_it_answers().await
}

/// Accounts without passwords, whose hashing would take longer than all scenarios.
async fn seed(programs: &Programs, server: &mut Server) -> Result<(), Failure> {
    let mut rows = Vec::new();
    server.crowd = Crowd::new(&server.sizes, |name| {
        rows.push(format!("('{name}', {})", 1_000_000 + rows.len()));
        Ok(format!("syt_{name}"))
    })?;
    let sql = format!(
        "CREATE TEMPORARY TABLE crowd (name text, number bigint);
INSERT INTO crowd VALUES {};
INSERT INTO users (name, creation_ts) SELECT '@' || name || ':localhost', 1700000000 FROM crowd;
INSERT INTO profiles (user_id, full_user_id, displayname) SELECT name, '@' || name || ':localhost', name FROM crowd;
INSERT INTO devices (user_id, device_id, display_name) SELECT '@' || name || ':localhost', 'BENCH', 'bench' FROM crowd;
INSERT INTO access_tokens (id, user_id, device_id, token)
    SELECT number, '@' || name || ':localhost', 'BENCH', 'syt_' || name FROM crowd;",
        rows.join(", ")
    );
    query(programs, "synapse", &sql).await
}

/// Copies `template` `copies` times: see `synapse/clone.sql`. Synapse is stopped meanwhile.
pub(crate) async fn clone_rooms(
    programs: &Programs,
    server: &mut Server,
    wanted: &[Copies],
) -> Result<(), Failure> {
    server.until_it_rests().await;
    server.end(1).await?;
    let mut sql = include_str!("synapse/clone.sql").to_owned();
    for Copies {
        template,
        copies,
        mark,
        renaming,
    } in wanted
    {
        let renaming = renaming.replace('\'', "''");
        sql += &format!("SELECT bench_clone('{template}', {copies}, '{mark}', '{renaming}');\n");
    }
    query(programs, "synapse", &sql).await?;
    query(programs, "synapse", "VACUUM ANALYZE").await?;
    start_synapse(programs, server).await
}

/// Copies of a room.
pub(crate) struct Copies {
    pub(crate) template: String,
    pub(crate) copies: usize,
    pub(crate) mark: &'static str,
    /// An expression over the text X and the number of the copy, n.
    pub(crate) renaming: String,
}

impl Copies {
    /// The ids of the copies.
    pub(crate) fn ids(&self) -> Vec<String> {
        let rest = self.template.trim_start_matches('!');
        (0..self.copies)
            .map(|n| format!("!{}{n}_{rest}", self.mark))
            .collect()
    }
}

async fn query(programs: &Programs, database: &str, sql: &str) -> Result<(), Failure> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), sql)?;
    let mut psql = Command::new(programs.postgres.join("psql"));
    psql.args([
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
    ]);
    psql.args([
        "-p",
        &programs.port.to_string(),
        "-f",
        &text(file.path()),
        database,
    ]);
    server::run(&mut psql).await.map(drop)
}

/// The newest PostgreSQL of the distribution's packages.
pub(crate) fn find_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut versions: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    versions
        .into_iter()
        .rfind(|path: &PathBuf| is_there(&path.join("postgres")))
}

fn is_there(path: &Path) -> bool {
    path.is_file()
}
