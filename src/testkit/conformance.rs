//! The specification as a test: which operations are served, and whether the answers are as it says.
//! `docs/conformance.md` is the outcome.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr
)]

use std::{collections::BTreeMap, env, fs, path::Path};

use hearth_conformance::{Operation, Specification, page};
use hearth_testkit::Server;
use reqwest::Method;
use serde_json::{Value, json};

/// If it is set, the page is written and not compared.
const REGENERATE: &str = "HEARTH_REGENERATE";

#[tokio::test]
async fn the_page_says_what_is_served() {
    let Some(specification) = Specification::shared().unwrap() else {
        eprintln!(
            "skipped: there is no specification beside the checkout, nor does HEARTH_SPEC name one"
        );
        return;
    };
    let server = Server::start().await.unwrap();
    let mut served = Vec::new();
    for operation in specification.operations() {
        served.push(is_served(&server, operation).await);
    }
    server.stop().await.unwrap();
    let generated = page(specification, |at| served[at], |_| BTreeMap::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    if env::var_os(REGENERATE).is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let difference = committed
        .lines()
        .zip(generated.lines())
        .find(|(is, should)| is != should);
    assert!(
        committed == generated,
        "docs/conformance.md is not what is found now; the first difference: {difference:?}\n\
         {REGENERATE}=1 cargo test --package hearth-testkit --test conformance\n\
         writes it anew"
    );
}

/// Asks without a login, so that nothing happens.
async fn is_served(server: &Server, operation: &Operation) -> bool {
    let path = operation.path().split('/').map(|segment| match segment {
        "{roomId}" | "{roomIdOrAlias}" => "!nowhere:example.org",
        "{userId}" => "@nobody:example.org",
        "{eventId}" => "$nothing",
        "{roomAlias}" => "%23nothing:example.org",
        "{serverName}" => "example.org",
        _ if segment.starts_with('{') => "nothing",
        _ => segment,
    });
    let path = path.collect::<Vec<_>>().join("/");
    let method: Method = operation.method().parse().unwrap();
    let (status, answer) = server.call(method, &path, None, &json!({})).await.unwrap();
    let errcode = answer["errcode"].as_str();
    assert!(status < 500, "{}: {status} {answer}", operation.name());
    assert!(
        status != 404 || answer != Value::Null,
        "{}: no reason",
        operation.name()
    );
    !(matches!(status, 404 | 405) && errcode == Some("M_UNRECOGNIZED"))
}
