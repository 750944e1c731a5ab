//! The specification as a test: which operations are served, and whether the answers are as it says.
//! `docs/conformance.md` is the outcome.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr
)]

use std::{env, fs, path::Path};

use hearth_base::config::RegistrationMode;
use hearth_conformance::{Operation, Specification, page};
use hearth_testkit::Server;
use reqwest::Method;
use serde_json::{Value, json};

mod conversation;

use conversation::{Conversation, accounts, encryption, events, rooms, settings};

/// If it is set, the page is written and not compared.
const REGENERATE: &str = "HEARTH_REGENERATE";

#[tokio::test]
async fn the_page_says_what_is_served() {
    let Some(specification) = Specification::shared().unwrap() else {
        eprintln!("skipped: no specification beside the checkout, nor does HEARTH_SPEC name one");
        return;
    };
    let mut served = Vec::new();
    let server = Server::start().await.unwrap();
    for operation in specification.operations() {
        served.push(is_served(&server, operation).await);
    }
    server.stop().await.unwrap();
    let server = Server::start_with(|config| {
        config.server.public_base_url = Some("https://matrix.example.org".to_owned());
        config.server.admin_contact = Some("@admin:example.org".to_owned());
    });
    let server = server.await.unwrap();
    converse(&server).await;
    let recorder = server.recorder().unwrap();
    let generated = page(specification, |at| served[at], |at| recorder.seen(at));
    server.stop().await.unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    if env::var_os(REGENERATE).is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let lines = committed.lines().zip(generated.lines());
    let difference = lines.into_iter().find(|(is, should)| is != should);
    assert!(
        committed == generated,
        "docs/conformance.md is not what is found now; the first difference: {difference:?}\n\
         {REGENERATE}=1 cargo test --package hearth-testkit --test conformance\n\
         writes it anew"
    );
}

/// Uses every operation that is served, with success.
async fn converse(server: &Server) {
    let mut conversation = Conversation::new(server);
    conversation.hold(accounts::BEGINNING).await;
    conversation.hold(accounts::NOT_HERE).await;
    conversation.hold(accounts::BY_SERVERS).await;
    let users = server.users().unwrap();
    let alice = users.local_user("alice").unwrap();
    users.set_admin(&alice, true).await.unwrap();
    conversation.hold(accounts::ADMINISTRATION).await;
    let mut by_token = server.config().clone();
    by_token.registration.mode = RegistrationMode::Token;
    server.reload(&by_token).await.unwrap();
    conversation.hold(accounts::REGISTRATION_BY_TOKEN).await;
    server.reload(server.config()).await.unwrap();
    conversation.hold(settings::STEPS).await;
    conversation.hold(rooms::STEPS).await;
    conversation.hold(settings::OF_ROOMS).await;
    conversation.hold(events::STEPS).await;
    conversation.hold(encryption::STEPS).await;
    conversation.hold(accounts::END).await;
}

/// Asks without a login, so that nothing happens.
async fn is_served(server: &Server, operation: &Operation) -> bool {
    // Names of this server's own: others would be asked about theirs.
    let name = &server.config().server.name;
    let path = operation.path().split('/').map(|segment| match segment {
        "{roomId}" | "{roomIdOrAlias}" => format!("!nowhere:{name}"),
        "{userId}" => format!("@nobody:{name}"),
        "{eventId}" => "$nothing".to_owned(),
        "{roomAlias}" => format!("%23nothing:{name}"),
        "{serverName}" => name.to_string(),
        _ if segment.starts_with('{') => "nothing".to_owned(),
        _ => segment.to_owned(),
    });
    let path = path.collect::<Vec<_>>().join("/");
    let method: Method = operation.method().parse().unwrap();
    let (status, answer) = server.call(method, &path, None, &json!({})).await.unwrap();
    let errcode = answer["errcode"].as_str();
    let name = operation.name();
    assert!(status < 500, "{name}: {status} {answer}");
    assert!(status != 404 || answer != Value::Null, "{name}: no reason");
    !(matches!(status, 404 | 405) && errcode == Some("M_UNRECOGNIZED"))
}
