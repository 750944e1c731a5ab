//! Owns reading the header with which a server says who it is. More lenient than the grammar where older servers are: a
//! value need not be quoted to hold a colon, and any number of spaces may stand between the parts.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#request-authentication>

use ruma::{OwnedServerName, OwnedServerSigningKeyId, serde::Base64};

/// Who a request says that it is from.
#[derive(Clone, Debug)]
pub struct XMatrix {
    /// The server.
    pub origin: OwnedServerName,
    /// The server that it is meant for; older ones leave it out.
    pub destination: Option<OwnedServerName>,
    /// The key of the signature.
    pub key: OwnedServerSigningKeyId,
    /// The signature.
    pub sig: Base64,
}

impl XMatrix {
    /// Reads the value of an `Authorization` header.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, mut rest) = text
            .trim_start()
            .split_once(' ')
            .ok_or("it has no fields")?;
        if !scheme.eq_ignore_ascii_case("X-Matrix") {
            return Err("it is not of the scheme X-Matrix".to_owned());
        }
        let mut fields: [Option<String>; 4] = Default::default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=').ok_or("a field has no value")?;
            let (value, after) = value(after)?;
            rest = after.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err("fields are not set apart by commas".to_owned());
            }
            let name = name.trim().to_ascii_lowercase();
            let names = ["origin", "destination", "key", "sig"];
            if let Some(at) = names.iter().position(|known| *known == name)
                && fields[at].replace(value).is_some()
            {
                return Err(format!("`{name}` is there twice"));
            }
        }
        let [origin, destination, key, sig] = fields;
        let missing = |name: &str| format!("`{name}` is missing");
        let wrong = |name: &'static str| move |e: &dyn std::fmt::Display| format!("`{name}`: {e}");
        Ok(Self {
            origin: OwnedServerName::try_from(origin.ok_or_else(|| missing("origin"))?)
                .map_err(|e| wrong("origin")(&e))?,
            destination: destination
                .map(OwnedServerName::try_from)
                .transpose()
                .map_err(|e| wrong("destination")(&e))?,
            key: OwnedServerSigningKeyId::try_from(key.ok_or_else(|| missing("key"))?)
                .map_err(|e| wrong("key")(&e))?,
            sig: Base64::parse(sig.ok_or_else(|| missing("sig"))?).map_err(|e| wrong("sig")(&e))?,
        })
    }
}

/// The value at the start of a text, quoted or not, and what comes after it.
fn value(text: &str) -> Result<(String, &str), String> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return match value.contains('"') {
            true => Err("a quote stands within a value".to_owned()),
            false => Ok((value.to_owned(), after)),
        };
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    Err("a quoted value has no end".to_owned())
}
