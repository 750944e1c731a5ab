//! Rules between keys, and the files that hold secrets. Must never let an unsafe combination start by accident.

use std::{fs, path::Path};

use tracing_subscriber::EnvFilter;

use super::{Config, Problem, RegistrationMode, Secret, layers::Origins};

/// The longest secret that is read from a file.
const LONGEST_SECRET: usize = 4096;

/// Replaces `…_file` keys by what the files hold.
pub(super) fn read_secrets(config: &mut Config, origins: &Origins, problems: &mut Vec<Problem>) {
    let registration = &mut config.registration;
    let secrets = [
        (
            ("registration", "shared_secret"),
            &mut registration.shared_secret,
            &registration.shared_secret_file,
        ),
        (
            ("store", "url"),
            &mut config.store.url,
            &config.store.url_file,
        ),
        (
            ("redis", "url"),
            &mut config.redis.url,
            &config.redis.url_file,
        ),
    ];
    for ((section, key), secret, file) in secrets {
        let Some(file) = file else { continue };
        let place = origins.of(section, &format!("{key}_file"));
        if secret.is_some() {
            problems.push(Problem {
                place,
                what: format!("both `{section}.{key}` and `{section}.{key}_file` are set"),
                remedy: "keep one of them".to_owned(),
            });
            continue;
        }
        match read_secret(file) {
            Ok(text) => *secret = Some(text),
            Err(why) => problems.push(Problem {
                place,
                what: format!("{} {why}", file.display()),
                remedy: format!("put it there, as one line, or remove `{key}_file`"),
            }),
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "on the command line's own thread, a file that the operator names"
)]
fn read_secret(file: &Path) -> Result<Secret, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.len() > LONGEST_SECRET || text.contains('\n') {
        return Err("does not hold one line".to_owned());
    }
    Ok(Secret::new(text))
}

/// `@user:server` or `user@server`.
fn is_contact(who: &str) -> bool {
    match who.strip_prefix('@') {
        Some(rest) => rest.contains(':'),
        None => who
            .split_once('@')
            .is_some_and(|(user, server)| !user.is_empty() && !server.is_empty()),
    }
}

/// Judges the whole.
pub(super) fn rules(config: &Config, origins: &Origins, problems: &mut Vec<Problem>) {
    let mut wrong = |section: &str, key: &str, what: &str, remedy: &str| {
        problems.push(Problem {
            place: origins.of(section, key),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    };
    listen(config, &mut wrong);
    registration(config, &mut wrong);
    shared(config, &mut wrong);
    if config.limits.requests_per_second == 0 || config.limits.request_burst == 0 {
        wrong(
            "limits",
            "requests_per_second",
            "a limit of no requests at all",
            "write at least 1, or `rate_limit = false`",
        );
    }
    if config.limits.request_body.0 < 64 << 10 {
        wrong(
            "limits",
            "request_body",
            "`limits.request_body` is shorter than an event may be",
            "write at least \"64 KiB\"",
        );
    }
    if EnvFilter::try_new(&config.log.filter).is_err() {
        wrong(
            "log",
            "filter",
            "`log.filter` cannot be understood",
            "write a level such as \"info\", and exceptions such as \"info,hearth_sync=debug\"",
        );
    }
    let known: Result<u8, _> = config.rooms.default_version.as_str().parse();
    if !known.is_ok_and(|version| (1..=12).contains(&version)) {
        wrong(
            "rooms",
            "default_version",
            "there is no such room version here",
            "write \"1\" to \"12\"",
        );
    }
    let letter = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '=' | '-' | '/' | '+');
    let user = &config.notices.user;
    if user.is_empty() || user.len() > 64 || !user.chars().all(letter) {
        wrong(
            "notices",
            "user",
            "this cannot be the name of a user",
            "write lower-case letters, digits and ._=-/+, without @ and colon",
        );
    }
    for (key, contact) in [
        ("admin_contact", &config.server.admin_contact),
        ("security_contact", &config.server.security_contact),
    ] {
        if contact.as_ref().is_some_and(|who| !is_contact(who)) {
            wrong(
                "server",
                key,
                "neither a Matrix user nor an e-mail address",
                "write \"@admin:example.org\" or \"admin@example.org\"",
            );
        }
    }
    if let Some(url) = &config.server.public_base_url
        && !(url.starts_with("https://") || url.starts_with("http://"))
    {
        wrong(
            "server",
            "public_base_url",
            "`server.public_base_url` is not a web address",
            "write https:// and the name under which clients reach this server",
        );
    }
}

fn listen(config: &Config, wrong: &mut dyn FnMut(&str, &str, &str, &str)) {
    let listen = &config.listen;
    if listen.addresses.is_empty() && listen.https_addresses.is_empty() {
        wrong(
            "listen",
            "addresses",
            "the server would listen nowhere",
            "write at least one, such as \"127.0.0.1:8008\"",
        );
    }
    if !listen.https_addresses.is_empty() && listen.tls_certificate_file.is_none() {
        wrong(
            "listen",
            "https_addresses",
            "HTTPS needs a certificate",
            "set `tls_certificate_file` and `tls_key_file`",
        );
    }
    if listen.tls_certificate_file.is_some() != listen.tls_key_file.is_some() {
        let key = match listen.tls_key_file {
            Some(_) => "tls_key_file",
            None => "tls_certificate_file",
        };
        wrong(
            "listen",
            key,
            "a certificate and its key belong together, and one is not set",
            "set both `tls_certificate_file` and `tls_key_file`, or neither",
        );
    }
    if listen.max_connections == 0 || listen.header_timeout_seconds == 0 {
        let key = match listen.max_connections {
            0 => "max_connections",
            _ => "header_timeout_seconds",
        };
        wrong("listen", key, "nobody could connect", "write at least 1");
    }
}

fn registration(config: &Config, wrong: &mut dyn FnMut(&str, &str, &str, &str)) {
    let registration = &config.registration;
    if registration.mode == RegistrationMode::Open && !registration.open_to_everyone {
        let reachable = config
            .listen
            .addresses
            .iter()
            .chain(&config.listen.https_addresses)
            .find(|a| !a.ip().is_loopback());
        if let Some(address) = reachable {
            wrong(
                "registration",
                "mode",
                &format!(
                    "everybody who reaches {address} could make accounts, and spammers look for that"
                ),
                "use `mode = \"token\"`, or say `open_to_everyone = true` if that is meant",
            );
        }
    }
    if registration
        .shared_secret
        .as_ref()
        .is_some_and(|s| s.reveal().len() < 8)
    {
        wrong(
            "registration",
            "shared_secret",
            "the shared secret can be guessed",
            "write at least 8 letters",
        );
    }
}

/// What nodes share.
fn shared(config: &Config, wrong: &mut dyn FnMut(&str, &str, &str, &str)) {
    let has = |secret: &Option<Secret>, schemes: [&str; 2]| {
        let url = secret.as_ref().map_or("", Secret::reveal);
        secret.is_none() || schemes.iter().any(|scheme| url.starts_with(scheme))
    };
    if !has(&config.store.url, ["postgres://", "postgresql://"]) {
        wrong(
            "store",
            "url",
            "`store.url` is not the address of a PostgreSQL",
            "write postgres://user:password@host:port/database, or remove it to use the folder `store.path`",
        );
    }
    if !has(&config.redis.url, ["redis://", "rediss://"]) {
        wrong(
            "redis",
            "url",
            "`redis.url` is not the address of a Redis",
            "write redis://host:port, or remove it where there is one node",
        );
    }
    if config.redis.url.is_some() && config.store.url.is_none() {
        wrong(
            "redis",
            "url",
            "Redis joins nodes that share a database, and `store.url` is not set",
            "set `store.url`, or remove `redis.url`",
        );
    }
    if !(1..=1000).contains(&config.store.connections) {
        wrong(
            "store",
            "connections",
            "this many connections to the database make no sense",
            "write 1 to 1000",
        );
    }
}
