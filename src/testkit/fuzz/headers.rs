//! Target: the header with which a server says who it is. What is written is read back, in every form that the grammar has;
//! what is read is what stands there; another request than the one that was signed is refused.

use hearth_federation::reach::{Signed, XMatrix};
use hearth_protocol::{PublicKeys, verify_json};
use ruma::{CanonicalJsonObject, ServerName};

use crate::{Outcome, signatures::key_of, source::Source};

/// Names of servers, good ones and bad ones.
pub(crate) const NAMES: [&str; 16] = [
    "a.test",
    "a.test:8448",
    "A.Test",
    "1.2.3.4",
    "[::1]:443",
    "[2001:db8::1]",
    "a_b.test",
    "",
    "a.test:",
    "a.test:99999",
    "ä.test",
    "a.test/x",
    "a test",
    "[::1",
    "a,b",
    "a\"b",
];

pub(crate) fn run(source: &Source) -> Outcome {
    match source.pick(40) {
        0 => request(source),
        1..=9 => garbage(source),
        _ => written(source),
    }
}

/// A header that is written as the grammar allows.
fn written(source: &Source) -> Outcome {
    let name = |good: usize| source.one_of(&NAMES[..good]);
    let origin = name([6, 16][source.pick(2)]);
    let destination = (!source.once_in(3)).then(|| name(7));
    let key = ["ed25519:k", "ed25519:a_1", "ed25519:", "k", "rsa:x"][source.pick(5)];
    let signature = ["YWJj", "YWJjZA", "YWJjZA==", "", "%"][source.pick(5)];
    let mut fields = vec![("origin", origin), ("key", key), ("sig", signature)];
    fields.extend(destination.map(|name| ("destination", name)));
    if source.once_in(4) {
        fields.push(("later", "x y"));
    }
    source.shuffle(&mut fields);
    let scheme = ["X-Matrix", "x-matrix", "X-MATRIX"][source.pick(3)];
    let mut text = format!("{scheme} ");
    for (count, (name, value)) in fields.iter().enumerate() {
        if count > 0 {
            text.push_str([",", ", ", " ,", " , "][source.pick(4)]);
        }
        match source.once_in(3) {
            true => text.push_str(&name.to_ascii_uppercase()),
            false => text.push_str(name),
        }
        text.push('=');
        write_value(source, value, &mut text);
    }
    source.tell(|| text.clone());
    let read = XMatrix::parse(&text);
    let is_server = |name: &str| ServerName::parse(name).is_ok();
    let fits = is_server(origin) && destination.is_none_or(is_server);
    let fits = fits && key.starts_with("ed25519:") && key.len() > 8 && signature != "%";
    match read {
        Ok(read) if fits => {
            let same = read.origin.as_str() == origin
                && read.destination.as_ref().map(|name| name.as_str()) == destination
                && read.key.as_str() == key
                && read.sig.encode().trim_end_matches('=') == signature.trim_end_matches('=');
            match same {
                true => Ok(true),
                false => Err(format!("{text} is read as {read:?}")),
            }
        }
        // What algorithms there are, the key's owner decides.
        Ok(_) if key != "ed25519:k" => Ok(false),
        Ok(read) => Err(format!("{text} is accepted as {read:?}")),
        Err(reason) if fits => Err(format!("{text} is refused: {reason}")),
        Err(_) => Ok(false),
    }
}

/// A value in quotes, with more escapes than are needed, or without quotes where that may be.
fn write_value(source: &Source, value: &str, to: &mut String) {
    let is_token = |letter: char| letter.is_ascii_alphanumeric() || ".-_:=/+[]%".contains(letter);
    if !value.is_empty() && value.chars().all(is_token) && source.once_in(3) {
        to.push_str(value);
        return;
    }
    to.push('"');
    for letter in value.chars() {
        if letter == '"' || letter == '\\' || source.once_in(10) {
            to.push('\\');
        }
        to.push(letter);
    }
    to.push('"');
}

/// Bytes that are a header by chance.
fn garbage(source: &Source) -> Outcome {
    let header = r#"X-Matrix origin="a.test:8448",destination="b.test",key="ed25519:k",sig="YWJj""#;
    let mut bytes = header.as_bytes().to_vec();
    for _ in 0..=source.pick(4) {
        source.spoil(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    source.tell(|| text.clone().into_owned());
    let Ok(read) = XMatrix::parse(&text) else {
        return Ok(false);
    };
    // What is believed stands there, letter by letter, and has the form of a name.
    let bare: String = text.chars().filter(|letter| *letter != '\\').collect();
    let names = [Some(&read.origin), read.destination.as_ref()];
    for name in names.into_iter().flatten() {
        if !bare.contains(name.as_str()) || ServerName::parse(name.as_str()).is_err() {
            return Err(format!("{text} names {name}"));
        }
    }
    Ok(true)
}

/// A request that is signed, and one that differs in one thing.
fn request(source: &Source) -> Outcome {
    let (key, own) = (key_of(0)?, key_of(1)?.server());
    let content = serde_json::Value::Object(source.object(2)).to_string();
    let uri = format!("/_matrix/federation/v1/send/{}", source.opaque(5));
    let signed = Signed {
        method: "PUT",
        uri: &uri,
        origin: key.server(),
        destination: own,
        content: Some(content.as_bytes()),
    };
    let header = signed.header(key).map_err(|e| e.to_string())?;
    source.tell(|| header.clone());
    let read = XMatrix::parse(&header)?;
    let changed_uri = format!("{uri}/");
    let other = format!("{{\"x\":{content}}}");
    let mut asked = signed;
    let same = match source.pick(6) {
        0 => {
            asked.method = "POST";
            false
        }
        1 => {
            asked.uri = &changed_uri;
            false
        }
        2 => {
            asked.destination = key.server();
            false
        }
        3 => {
            asked.content = source.once_in(2).then_some(other.as_bytes());
            false
        }
        4 => {
            asked.origin = own;
            false
        }
        _ => true,
    };
    let mut object = asked.object().map_err(|e| e.to_string())?;
    let signature = CanonicalJsonObject::from([(read.key.to_string(), read.sig.encode().into())]);
    let signatures = CanonicalJsonObject::from([(asked.origin.to_string(), signature.into())]);
    object.insert("signatures".to_owned(), signatures.into());
    let mut keys = PublicKeys::new();
    for number in 0..2 {
        let key = key_of(number)?;
        let own = keys.entry(key.server().to_string()).or_default();
        own.insert(key.id().to_string(), key.verify_key());
    }
    match verify_json(&object, asked.origin, &keys).is_ok() == same {
        true => Ok(same),
        false => Err(format!("{asked:?} is taken for {signed:?}: {}", !same)),
    }
}
