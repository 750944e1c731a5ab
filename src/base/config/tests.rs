#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{Config, Problems, REFERENCE, Size, reference};

/// Loads `text` as a file of its own, with further drop-in files and variables.
fn load(
    text: &str,
    further: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Result<Config, Problems> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hearth.toml");
    fs::write(&file, text).unwrap();
    fs::create_dir(folder.path().join("hearth.d")).unwrap();
    for (name, text) in further {
        fs::write(folder.path().join("hearth.d").join(name), text).unwrap();
    }
    let environment = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::load(Some(&file), environment)
}

fn problem(text: &str) -> String {
    load(text, &[], &[]).unwrap_err().to_string()
}

#[test]
fn the_documented_file_holds_the_defaults() {
    assert_eq!(load(REFERENCE, &[], &[]).unwrap(), Config::default());
    assert_eq!(load("", &[], &[]).unwrap(), Config::default());
}

#[test]
fn the_documented_file_names_every_key() {
    let config: Config = toml::from_str(&reference::complete()).unwrap();
    let Value::Object(sections) = serde_json::to_value(&config).unwrap() else {
        panic!("a configuration is a table");
    };
    for (section, keys) in sections {
        for (key, value) in keys.as_object().unwrap() {
            assert!(
                !value.is_null(),
                "conf/hearth.toml does not name {section}.{key}"
            );
            assert!(
                reference::keys(&section).contains(&key.as_str()),
                "{section}.{key}"
            );
        }
    }
}

#[test]
fn a_wrong_key_is_named_with_its_line_and_the_nearest_right_one() {
    let wrong = problem("[server]\n\nnmae = \"example.org\"\n");
    assert!(
        wrong.contains("hearth.toml:3: there is no key `nmae` in [server]"),
        "{wrong}"
    );
    assert!(wrong.contains("did you mean `name`?"), "{wrong}");
    let wrong = problem("[sever]\nname = \"example.org\"\n");
    assert!(
        wrong.contains("hearth.toml:1: there is no section [sever]"),
        "{wrong}"
    );
    assert!(wrong.contains("did you mean `server`?"), "{wrong}");
    let wrong = problem("name = \"example.org\"\n");
    assert!(wrong.contains("put it under [server]"), "{wrong}");
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_an_example() {
    let wrong = problem("[listen]\nmax_connections = \"many\"\n");
    assert!(
        wrong.contains("hearth.toml:2: `listen.max_connections` cannot be that"),
        "{wrong}"
    );
    assert!(
        wrong.contains("for example: max_connections = 16384"),
        "{wrong}"
    );
    let wrong = problem("[store]\nmemory = \"a lot\"\n");
    assert!(
        wrong.contains("hearth.toml:2") && wrong.contains("is not a size"),
        "{wrong}"
    );
    let wrong = problem("[store]\nmemory =\n");
    assert!(wrong.contains("hearth.toml:2: this is not TOML"), "{wrong}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let wrong = load(
        "[a]\nb = 1\n[log]\nformat = \"xml\"\n",
        &[],
        &[("HEARTH__LOG__FLITER", "x")],
    );
    assert_eq!(wrong.unwrap_err().0.len(), 3);
}

#[test]
fn later_layers_win() {
    let config = load(
        "[server]\nname = \"one.org\"\n[store]\nmemory = \"1 GiB\"\n",
        &[
            ("20.toml", "[server]\nname = \"three.org\""),
            ("10.toml", "[server]\nname = \"two.org\""),
        ],
        &[
            ("HEARTH__LIMITS__RATE_LIMIT", "false"),
            ("HEARTH__LISTEN__ADDRESSES", "[\"127.0.0.1:1\"]"),
            ("HEARTH__REGISTRATION__SHARED_SECRET", "12345678"),
            ("HOME", "/root"),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.server.name.as_str(), "three.org");
    assert_eq!(config.store.memory, Size(1 << 30));
    assert!(!config.limits.rate_limit);
    assert_eq!(config.listen.addresses[0].port(), 1);
    assert_eq!(
        config.registration.shared_secret.unwrap().reveal(),
        "12345678"
    );
}

#[test]
fn a_wrong_variable_is_named() {
    let wrong = load("", &[], &[("HEARTH__SERVER__NAM", "x")])
        .unwrap_err()
        .to_string();
    assert!(
        wrong.starts_with("HEARTH__SERVER__NAM: there is no key `nam`"),
        "{wrong}"
    );
}

#[test]
fn open_registration_for_everyone_must_be_meant() {
    let open = "[listen]\naddresses = [\"0.0.0.0:8008\"]\n[registration]\nmode = \"open\"\n";
    let wrong = problem(open);
    assert!(wrong.contains("hearth.toml:4"), "{wrong}");
    assert!(wrong.contains("open_to_everyone = true"), "{wrong}");
    load(&format!("{open}open_to_everyone = true\n"), &[], &[]).unwrap();
    load("[registration]\nmode = \"open\"\n", &[], &[]).unwrap();
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "correct horse\n").unwrap();
    let text = format!(
        "[registration]\nshared_secret_file = \"{}\"\n",
        file.display()
    );
    let config = load(&text, &[], &[]).unwrap();
    assert_eq!(
        config.registration.shared_secret.as_ref().unwrap().reveal(),
        "correct horse"
    );
    assert!(!format!("{config:?}").contains("horse"));
    assert!(problem(&format!("{text}shared_secret = \"12345678\"\n")).contains("keep one"));
    assert!(
        problem("[registration]\nshared_secret_file = \"/nowhere/to/be/found\"\n")
            .contains("cannot be read")
    );
}

#[test]
fn https_needs_a_certificate() {
    let listen = "[listen]\nhttps_addresses = [\"127.0.0.1:8448\"]\n";
    let wrong = problem(listen);
    assert!(
        wrong.contains("hearth.toml:2: HTTPS needs a certificate"),
        "{wrong}"
    );
    let files = "tls_certificate_file = \"c.pem\"\ntls_key_file = \"k.pem\"\n";
    let config = load(&format!("{listen}{files}"), &[], &[]).unwrap();
    assert_eq!(config.listen.https_addresses.len(), 1);
}

#[test]
fn sizes_read_as_they_are_written() {
    for text in ["64 MiB", "1 B", "500 KiB", "3 GiB"] {
        assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "MiB",
        "5",
        "5 MB",
        "-1 KiB",
        "99999999999999999999 B",
        "99999999999999 GiB",
    ] {
        text.parse::<Size>().unwrap_err();
    }
}

#[test]
fn addresses_of_shared_services() {
    let postgres = "[store]\nurl = \"postgres://hearth:horse@db/hearth\"\n";
    let redis = "[redis]\nurl = \"redis://cache:6379\"\n";
    let config = load(&format!("{postgres}{redis}"), &[], &[]).unwrap();
    assert!(!format!("{config:?}").contains("horse"));
    assert!(problem(redis).contains("`store.url` is not set"));
    assert!(problem("[store]\nurl = \"mysql://db\"\n").contains("PostgreSQL"));
    assert!(problem(&format!("{postgres}[redis]\nurl = \"cache\"\n")).contains("not the address"));
    assert!(problem("[store]\nconnections = 0\n").contains("1 to 1000"));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("url");
    fs::write(&file, "postgres://db/hearth\n").unwrap();
    let text = format!("[store]\nurl_file = \"{}\"\n", file.display());
    let config = load(&text, &[], &[]).unwrap();
    assert_eq!(config.store.url.unwrap().reveal(), "postgres://db/hearth");
}
