//! What each command of an operator does.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

use hearth_store::{Batch, CommitError};
use hearth_users::{NewAccount, RegistrationToken};
use ruma::RoomId;
use tokio::{fs, io::AsyncWriteExt as _};

use super::Command;
use crate::{Error, Node, cluster, upgrade};

/// The database in a backup folder.
pub(crate) const SAVED_STORE: &str = "store";
/// The signing key in a backup folder.
pub(crate) const SAVED_KEY: &str = "signing.key";
/// The length of passwords that are made up.
const PASSWORD_LENGTH: usize = 20;
/// How often a change is planned again after a conflict.
const ATTEMPTS: usize = 8;
/// Accounts that are read at once.
const PAGE: usize = 1000;
/// Accounts that are listed at most.
const MOST_LISTED: usize = 100_000;

/// Does what the operator asks for, and says what was done.
///
/// # Errors
/// Why it cannot be done.
pub(crate) async fn perform(
    node: &Node,
    key_file: &Path,
    command: Command,
) -> Result<String, Error> {
    match command {
        Command::CreateUser {
            name,
            password,
            admin,
        } => create_user(node, &name, password, admin).await,
        Command::ListUsers => list_users(node).await,
        Command::SetAdmin { name, admin } => {
            let user = node.users().local_user(&name).map_err(refused)?;
            node.users()
                .set_admin(&user, admin)
                .await
                .map_err(refused)?;
            let what = if admin {
                "is an administrator now"
            } else {
                "is an ordinary user now"
            };
            Ok(format!("{user} {what}"))
        }
        Command::ResetPassword { name, password } => reset_password(node, &name, password).await,
        Command::CreateToken { uses } => create_token(node, uses).await,
        Command::ListTokens => list_tokens(node).await,
        Command::DeleteToken { token } => {
            node.users()
                .delete_registration_token(&token)
                .await
                .map_err(refused)?;
            Ok("the token admits nobody any more".to_owned())
        }
        Command::ClusterStatus => cluster::status(node.store(), node.clock()).await,
        Command::LookAtStore => {
            let found = upgrade::look(&node.store().view().await?).await?;
            serde_json::to_string(&found).map_err(|e| Error::refused(e.to_string()))
        }
        Command::ReplayRoom { room } => replay_room(node, &room).await,
        Command::Backup { target } => backup(node, key_file, &target).await,
    }
}

async fn create_user(
    node: &Node,
    name: &str,
    password: Option<String>,
    admin: bool,
) -> Result<String, Error> {
    let user = node.users().check_name(name).await.map_err(refused)?;
    let (password, shown) = chosen(node, password);
    let mut account = NewAccount::new(user.clone(), Some(password));
    account.admin = admin;
    node.users()
        .register(account, None)
        .await
        .map_err(refused)?;
    let kind = if admin {
        "the administrator"
    } else {
        "the user"
    };
    Ok(format!("made {kind} {user}{shown}"))
}

async fn reset_password(
    node: &Node,
    name: &str,
    password: Option<String>,
) -> Result<String, Error> {
    let users = node.users();
    let user = users.local_user(name).map_err(refused)?;
    let (password, shown) = chosen(node, password);
    let password = users.hash_password(password).await.map_err(refused)?;
    for _ in 0..ATTEMPTS {
        let view = node.store().view().await?;
        let mut batch = Batch::new();
        users
            .plan_password(&view, &mut batch, &user, &password)
            .await
            .map_err(refused)?;
        for device in users.devices(&view, &user).await.map_err(refused)? {
            users
                .plan_device_deletion(&view, &mut batch, &user, &device.device_id)
                .await
                .map_err(refused)?;
        }
        match node.store().commit(batch).await {
            Ok(_) => {
                return Ok(format!(
                    "{user} has another password and is logged out everywhere{shown}"
                ));
            }
            Err(CommitError::Conflict) => {}
            Err(CommitError::Failed(error)) => return Err(error.into()),
        }
    }
    Err(Error::refused(
        "too much happens to this account at the moment: try again",
    ))
}

/// The password, made up if none is given; and what to tell of it.
fn chosen(node: &Node, password: Option<String>) -> (String, String) {
    match password {
        Some(password) => (password, String::new()),
        None => {
            let password = node.rng().opaque(PASSWORD_LENGTH);
            let shown = format!("\npassword: {password}");
            (password, shown)
        }
    }
}

async fn list_users(node: &Node) -> Result<String, Error> {
    let view = node.store().view().await?;
    let (mut lines, mut after) = (Vec::new(), None);
    while lines.len() < MOST_LISTED {
        let page = node
            .users()
            .accounts(&view, after.as_deref(), PAGE)
            .await
            .map_err(refused)?;
        let full = page.len() == PAGE;
        after = page.last().map(|(user, _)| user.clone());
        lines.extend(page.into_iter().map(|(user, account)| {
            let admin = if account.admin { " admin" } else { "" };
            let closed = if account.deactivated {
                " deactivated"
            } else {
                ""
            };
            format!("{user}{admin}{closed}")
        }));
        if !full {
            return Ok(lines.join("\n"));
        }
    }
    lines.push(format!("and more: the first {MOST_LISTED} are shown"));
    Ok(lines.join("\n"))
}

async fn create_token(node: &Node, uses: Option<u64>) -> Result<String, Error> {
    let token = node.rng().opaque(PASSWORD_LENGTH);
    let record = RegistrationToken {
        token: token.clone(),
        uses_allowed: uses,
        completed: 0,
        expires: None,
    };
    node.users()
        .put_registration_token(record)
        .await
        .map_err(refused)?;
    Ok(token)
}

async fn list_tokens(node: &Node) -> Result<String, Error> {
    let view = node.store().view().await?;
    let tokens = node
        .users()
        .registration_tokens(&view)
        .await
        .map_err(refused)?;
    let lines = tokens.into_iter().map(|token| match token.uses_allowed {
        Some(most) => format!("{} used {} of {most} times", token.token, token.completed),
        None => format!("{} used {} times", token.token, token.completed),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Computes a room again. That something is stored otherwise is a refusal, so that the command fails.
async fn replay_room(node: &Node, room: &str) -> Result<String, Error> {
    let room_id = RoomId::parse(room)
        .map_err(|e| Error::refused(format!("{room} is not the id of a room: {e}")))?;
    let found = node
        .rooms()
        .recompute(&room_id)
        .await
        .map_err(|e| match e {
            hearth_rooms::Error::Store(error @ hearth_store::Error::Unavailable(_)) => {
                Error::Store(error)
            }
            other => Error::refused(other.to_string()),
        })?;
    let mut lines = vec![format!(
        "{} events of {room_id}, of which {} follow a state that another server told",
        found.events, found.told
    )];
    if found.unclear > 0 {
        lines.push(format!(
            "{} verdicts rest on what was redacted since or may be a policy server's, and are left as they are",
            found.unclear
        ));
    }
    if found.count == 0 {
        lines.push("everything is stored as it was computed".to_owned());
        return Ok(lines.join("\n"));
    }
    lines.push(format!("{} differences:", found.count));
    lines.extend(found.differences);
    Err(Error::refused(lines.join("\n")))
}

async fn backup(node: &Node, key_file: &Path, target: &Path) -> Result<String, Error> {
    let failed = |e| Error::io(format!("cannot write to {}", target.display()), e);
    fs::create_dir_all(target).await.map_err(failed)?;
    fs::set_permissions(target, Permissions::from_mode(0o700))
        .await
        .map_err(failed)?;
    node.store()
        .engine()
        .backup(&target.join(SAVED_STORE))
        .await?;
    let key = fs::read(key_file)
        .await
        .map_err(|e| Error::io(format!("cannot read {}", key_file.display()), e))?;
    let mut saved = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(target.join(SAVED_KEY))
        .await
        .map_err(failed)?;
    saved.write_all(&key).await.map_err(failed)?;
    saved.sync_all().await.map_err(failed)?;
    Ok(format!(
        "the backup is in {}; it holds the signing key, so keep it safe",
        target.display()
    ))
}

fn refused(error: hearth_users::Error) -> Error {
    match error {
        hearth_users::Error::Store(error) => Error::Store(error),
        other => Error::refused(other.to_string()),
    }
}
