//! The keys there are: those of `conf/hearth.toml`, which is compiled in. Must never hold a second list of them.

use std::sync::LazyLock;

use toml::{Table, Value};

/// The documented configuration, every key with its default.
pub const REFERENCE: &str = include_str!("../../../conf/hearth.toml");

/// The reference with the keys that have no default set as well.
static COMPLETE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(&complete()).unwrap_or_default());

/// [`REFERENCE`] without the `#` before keys that have no default.
pub(super) fn complete() -> String {
    let lines = REFERENCE.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The sections there are.
pub(super) fn sections() -> Vec<&'static str> {
    COMPLETE.keys().map(String::as_str).collect()
}

/// The keys of `section`; none if there is no such section.
pub(super) fn keys(section: &str) -> Vec<&'static str> {
    let section = COMPLETE.get(section).and_then(Value::as_table);
    section
        .map(|keys| keys.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// How the reference sets the key, as a line of a file.
pub(super) fn example(section: &str, key: &str) -> Option<String> {
    let value = COMPLETE.get(section)?.get(key)?;
    Some(format!("{key} = {value}"))
}

/// What to write instead of `wrong`, given what there is.
pub(super) fn nearest(wrong: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (distance(wrong, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3));
    match near {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// How many letters must change, be added or go for `a` to become `b`. For short words only.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
