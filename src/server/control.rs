//! The socket over which the command line talks to a running server, since only one process can have the store open.
//!
//! One request, a line of JSON, and one answer, another line. The socket's file is closed to other users, which is all the
//! authority there is. Must never be reachable over a network.

use std::{
    fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{Error, Node, identity};

mod perform;

pub(crate) use perform::{SAVED_KEY, SAVED_STORE, perform};

/// The longest request line in bytes.
const LONGEST: u64 = 64 << 10;
/// The longest answer line in bytes.
const LONGEST_ANSWER: u64 = 64 << 20;
/// Commands that run at once.
const AT_ONCE: usize = 4;
/// For a command to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an operator can ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Makes an account.
    CreateUser {
        name: String,
        /// Made up if absent.
        password: Option<String>,
        admin: bool,
    },
    /// All accounts.
    ListUsers,
    /// Makes an account an administrator, or an ordinary one.
    SetAdmin { name: String, admin: bool },
    /// Sets a password and ends the account's sessions.
    ResetPassword {
        name: String,
        /// Made up if absent.
        password: Option<String>,
    },
    /// Makes a registration token.
    CreateToken {
        /// How many accounts it admits; `None`: any number.
        uses: Option<u64>,
    },
    /// All registration tokens.
    ListTokens,
    /// Ends a registration token.
    DeleteToken { token: String },
    /// The nodes that live.
    ClusterStatus,
    /// What runs on the store, for a program that wants to run there too.
    LookAtStore,
    /// Computes a room again from its events and compares.
    ReplayRoom { room: String },
    /// Copies the store and the key to a folder, an absolute path.
    Backup { target: std::path::PathBuf },
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    done: bool,
    text: String,
}

/// Answers at `socket` until `stop` says so, then removes it. The store must be open: that it is says that a socket found
/// there is left over from a server that died.
pub(crate) async fn serve(
    socket: &Path,
    node: Node,
    key_file: Arc<Path>,
    mut stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let failed = |e| {
        Error::io(
            format!("cannot make the control socket {}", socket.display()),
            e,
        )
    };
    identity::make_private_folder(socket)?;
    match tokio::fs::remove_file(socket).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    tokio::fs::set_permissions(socket, Permissions::from_mode(0o600))
        .await
        .map_err(failed)?;
    let (slots, socket) = (Arc::new(Semaphore::new(AT_ONCE)), socket.to_owned());
    Ok(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (Ok((stream, _)), Ok(slot)) = (accepted, slots.clone().acquire_owned().await)
            else {
                continue;
            };
            let (node, key_file) = (node.clone(), key_file.clone());
            tokio::spawn(async move {
                if let Err(error) = answer(stream, &node, &key_file).await {
                    tracing::debug!(%error, "a command over the control socket ended badly");
                }
                drop(slot);
            });
        }
        drop(listener);
        tokio::fs::remove_file(&socket).await.ok();
    })
}

async fn answer(
    mut stream: UnixStream,
    node: &Node,
    key_file: &Path,
) -> Result<(), std::io::Error> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LONGEST));
    timeout(PATIENCE, read.read_line(&mut line)).await??;
    let done = match serde_json::from_str(&line) {
        Ok(command) => perform(node, key_file, command).await,
        Err(e) => Err(Error::refused(format!("not a command: {e}"))),
    };
    let answer = match done {
        Ok(text) => Answer { done: true, text },
        Err(error) => Answer {
            done: false,
            text: error.to_string(),
        },
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

/// Asks the server at `socket`; `None` if none runs.
pub(crate) async fn ask(socket: &Path, command: &Command) -> Result<Option<String>, Error> {
    let failed = |e| {
        Error::io(
            format!("the server at {} does not answer", socket.display()),
            e,
        )
    };
    let mut stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return Err(failed(e)),
        Err(_) => return Ok(None),
    };
    let mut bytes = serde_json::to_vec(command).map_err(|e| Error::refused(e.to_string()))?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await.map_err(failed)?;
    let mut line = String::new();
    let mut read = BufReader::new(stream.take(LONGEST_ANSWER));
    read.read_line(&mut line).await.map_err(failed)?;
    let answer: Answer = serde_json::from_str(&line).map_err(|e| Error::refused(e.to_string()))?;
    if answer.done {
        Ok(Some(answer.text))
    } else {
        Err(Error::refused(answer.text))
    }
}
