//! Owns with whom this server speaks at all, as its operator says. Must never be asked by rooms: their own access lists
//! are another thing.

use ruma::ServerName;

/// The servers that are refused, in both directions.
#[derive(Clone, Debug, Default)]
pub struct DenyList(Vec<String>);

impl DenyList {
    /// Refuses the servers that one of the patterns matches: a name, with `*` for any run of letters and `?` for any one.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        let lower = patterns
            .into_iter()
            .map(|pattern| pattern.to_ascii_lowercase());
        Self(lower.collect())
    }

    /// Whether the server is refused; a port in its name is not looked at.
    #[must_use]
    pub fn denies(&self, server: &ServerName) -> bool {
        let host = server.host().to_ascii_lowercase();
        self.0.iter().any(|pattern| matches(pattern, &host))
    }
}

/// Whether `text` is of the form `pattern`, in time proportional to the product of their lengths at worst.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_and_patterns_are_refused() {
        let list = DenyList::new(["evil.org", "*.spam.*", "a?.net"].map(str::to_owned));
        for name in ["evil.org", "EVIL.org:8448", "x.spam.example", "ab.net"] {
            assert!(
                list.denies(&ruma::ServerName::parse(name).unwrap()),
                "{name}"
            );
        }
        for name in [
            "evil.org.uk",
            "notevil.org",
            "spam.example",
            "abc.net",
            "[::1]:8448",
        ] {
            assert!(
                !list.denies(&ruma::ServerName::parse(name).unwrap()),
                "{name}"
            );
        }
    }
}
