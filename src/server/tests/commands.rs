//! The program itself: its commands, while a server runs and while none does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use hearth_base::config::Config;
use hearth_rooms::{Head, NewRoom};
use hearth_server::{Node, Outside};
use hearth_store::{Batch, Family, Table};
use ruma::user_id;
use tempfile::TempDir;

/// The program over the folder of a test.
struct Hearth<'a>(&'a Path);

impl Hearth<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.current_dir(self.0).args(arguments);
        command.env("HEARTH__LISTEN__ADDRESSES", "[\"127.0.0.1:0\"]");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it prints, if it succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out
    }

    /// What it complains of, if it fails.
    fn complains(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            !output.status.success(),
            "{arguments:?}: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }

    /// A running server, with its log in JSON.
    fn serve(&self) -> Served {
        let mut command = self.command(&["serve"]);
        command.env("HEARTH__LOG__FORMAT", "json");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "it listens before it ends"
            );
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
        // It writes on: nobody reads, and the pipe stays open until it is stopped.
        Served { child, _log: log }
    }
}

struct Served {
    child: Child,
    _log: BufReader<std::process::ChildStderr>,
}

impl Served {
    /// Sends the signal that asks it to stop, and waits.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn accounts_are_made_with_and_without_a_running_server() {
    let folder = TempDir::new().unwrap();
    let hearth = Hearth(folder.path());
    let made = hearth.says(&["user", "create", "--admin", "alice"]);
    assert!(
        made.contains("made the administrator @alice:localhost\npassword: "),
        "{made}"
    );
    let server = hearth.serve();
    let refused = hearth.complains(&["serve"]);
    assert!(refused.contains("the store is unavailable"), "{refused}");
    fs::write(folder.path().join("password"), "correct horse\n").unwrap();
    let made = hearth.says(&["user", "create", "bob", "--password-file", "password"]);
    assert_eq!(made, "made the user @bob:localhost\n");
    assert!(
        hearth
            .complains(&["user", "create", "bob"])
            .contains("taken")
    );
    hearth.says(&["user", "set-admin", "bob"]);
    hearth.says(&[
        "user",
        "reset-password",
        "bob",
        "--password-file",
        "password",
    ]);
    assert!(
        hearth
            .complains(&["user", "set-admin", "nobody"])
            .contains("no such user")
    );
    let token = hearth.says(&["token", "create", "--uses", "3"]);
    let tokens = hearth.says(&["token", "list"]);
    assert_eq!(tokens, format!("{} used 0 of 3 times\n", token.trim()));
    server.stop();
    assert!(!folder.path().join("data/control.sock").exists());
    hearth.says(&["token", "delete", token.trim()]);
    hearth.says(&["user", "set-admin", "alice", "--no"]);
    let listed = hearth.says(&["user", "list"]);
    assert_eq!(listed, "@alice:localhost\n@bob:localhost admin\n");
}

#[test]
fn a_backup_of_a_running_server_brings_everything_back() {
    let folder = TempDir::new().unwrap();
    let hearth = Hearth(folder.path());
    let server = hearth.serve();
    hearth.says(&["user", "create", "alice"]);
    hearth.says(&["backup", "saved"]);
    hearth.says(&["user", "create", "bob"]);
    hearth.says(&["backup", "saved"]);
    server.stop();
    assert!(
        hearth
            .complains(&["restore", "saved"])
            .contains("nothing is overwritten")
    );
    let key = fs::read_to_string(folder.path().join("data/signing.key")).unwrap();
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    assert!(
        hearth
            .complains(&["restore", "nowhere"])
            .contains("no backup")
    );
    hearth.says(&["restore", "saved"]);
    assert_eq!(
        hearth.says(&["user", "list"]),
        "@alice:localhost\n@bob:localhost\n"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("data/signing.key")).unwrap(),
        key
    );
}

/// A node lists itself with its work, and nobody once it was stopped.
#[test]
fn the_nodes_that_live_are_listed() {
    let folder = TempDir::new().unwrap();
    let hearth = Hearth(folder.path());
    let server = hearth.serve();
    let mut listed = String::new();
    while !listed.contains("removal") {
        listed = hearth.says(&["cluster", "status"]);
    }
    assert_eq!(listed.trim().lines().count(), 1, "{listed}");
    assert!(listed.contains(env!("CARGO_PKG_VERSION")), "{listed}");
    assert!(listed.contains("127.0.0.1:"), "{listed}");
    server.stop();
    let listed = hearth.says(&["cluster", "status"]);
    assert_eq!(listed.trim(), "no node runs");
}

/// Where the program keeps the heads of rooms.
const HEADS: Table<String, Head> = Table::new(87, "room_heads", Family::Records);

/// Does something with the store of a server that does not run.
fn with_node<T>(folder: &Path, act: impl AsyncFnOnce(&Node) -> T) -> T {
    let mut config = Config::default();
    config.server.signing_key_file = folder.join("data/signing.key");
    config.server.control_socket = folder.join("data/control.sock");
    config.store.path = folder.join("data/store");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = Node::open(&config, Outside::default()).await.unwrap();
        let done = act(&node).await;
        node.close().await.unwrap();
        done
    })
}

#[test]
fn a_room_is_computed_again_with_and_without_a_running_server() {
    let folder = TempDir::new().unwrap();
    let hearth = Hearth(folder.path());
    hearth.says(&["user", "create", "alice"]);
    let room = with_node(folder.path(), async |node| {
        let room = NewRoom::by(user_id!("@alice:localhost").to_owned());
        node.rooms().create(room).await.unwrap()
    });
    let replay = ["room", "replay", room.as_str()];
    assert!(hearth.says(&replay).contains("stored as it was computed"));
    let server = hearth.serve();
    assert!(hearth.says(&replay).contains("stored as it was computed"));
    let unknown = hearth.complains(&["room", "replay", "!nowhere:localhost"]);
    assert!(unknown.contains("no events of such a room"), "{unknown}");
    assert!(
        hearth
            .complains(&["room", "replay", "alice"])
            .contains("not the id of a room")
    );
    server.stop();
    with_node(folder.path(), async |node| {
        let view = node.store().view().await.unwrap();
        let mut head = view.get(&HEADS, room.as_str()).await.unwrap().unwrap();
        head.joined += 1;
        let mut batch = Batch::new();
        batch.put(&HEADS, room.as_str(), &head);
        node.store().commit(batch).await.unwrap();
    });
    let wrong = hearth.complains(&replay);
    assert!(
        wrong.contains("1 differences:\n2 users are said to be joined, and 1 are"),
        "{wrong}"
    );
}

#[test]
fn a_wrong_configuration_is_explained() {
    let folder = TempDir::new().unwrap();
    let hearth = Hearth(folder.path());
    assert!(hearth.says(&["version"]).starts_with("hearth "));
    assert_eq!(
        hearth.says(&["check-config"]),
        "the configuration is right\n"
    );
    let file = folder.path().join("other.toml");
    fs::write(&file, "[server]\nnam = \"x.org\"\n").unwrap();
    for command in ["check-config", "serve"] {
        let wrong = hearth.complains(&[command, "--config", "other.toml"]);
        assert!(
            wrong.contains("other.toml:2: there is no key `nam`"),
            "{wrong}"
        );
    }
    drop(File::create(&file).unwrap());
    hearth.says(&["check-config", "--config", "other.toml"]);
}

#[test]
fn a_signing_key_can_be_made_before_there_is_a_server() {
    let folder = TempDir::new().unwrap();
    let hearth = Hearth(folder.path());
    let key = hearth.says(&["make-signing-key"]);
    assert_ne!(hearth.says(&["make-signing-key"]), key);
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/signing.key"), &key).unwrap();
    hearth.serve().stop();
    let kept = fs::read_to_string(folder.path().join("data/signing.key")).unwrap();
    assert_eq!(kept, key);
}
