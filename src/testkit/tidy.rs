//! What `docs/` calls tidy, as a test: the arrows between crates, the length of files and functions, names that say
//! nothing, leftovers, files that nobody compiles, and calls that end the process.
//!
//! Must never need an exception list: a rule that does not fit is changed here, for everybody.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file, tests included.
const LONGEST_FILE: usize = 500;
/// Lines of a function, its signature and braces included.
const LONGEST_FUNCTION: usize = 80;
/// As much for tests, which tell a story from its beginning to its end.
const LONGEST_TEST: usize = 110;
/// Names of files and folders that say nothing.
const EMPTY_NAMES: [&str; 8] = [
    "utils", "util", "common", "helpers", "manager", "misc", "data", "globals",
];
/// What must not stay behind.
const LEFTOVERS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];
/// Calls that end the request or the process on bad input.
const PANICS: [&str; 7] = [
    ".unwrap()",
    ".expect(",
    "panic!(",
    "unreachable!(",
    "todo!(",
    "unimplemented!(",
    "process::exit(",
];
/// The layers, the highest first. A crate may use those of lower layers only.
const LAYERS: [&[&str]; 7] = [
    &["hearth-testkit", "hearth-bench"],
    &["hearth-server"],
    &[
        "hearth-client-api",
        "hearth-federation",
        "hearth-media",
        "hearth-appservice",
        "hearth-push",
        "hearth-calls",
    ],
    &["hearth-sync"],
    &["hearth-rooms", "hearth-users"],
    &["hearth-protocol", "hearth-store"],
    &["hearth-base", "hearth-conformance"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The workspace's members, as folders.
fn members() -> Vec<PathBuf> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&text).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| root().join(member.as_str().unwrap()))
        .collect()
}

/// Every Rust file of the workspace, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = members();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "node_modules" && name != "flows" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20, "the sources are found");
    found
}

fn manifest(member: &Path) -> toml::Table {
    toml::from_str(&fs::read_to_string(member.join("Cargo.toml")).unwrap()).unwrap()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn none(problems: Vec<String>, rule: &str) {
    assert!(
        problems.is_empty(),
        "{rule}:\n  {}\n",
        problems.join("\n  ")
    );
}

fn layer(name: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&name));
    layer.unwrap_or_else(|| panic!("{name} stands in no layer of tidy.rs"))
}

#[test]
fn arrows_point_down() {
    let mut problems = Vec::new();
    for member in members() {
        let manifest = manifest(&member);
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        for kind in ["dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(kind).and_then(|d| d.as_table()) else {
                continue;
            };
            for used in dependencies
                .keys()
                .filter(|used| used.starts_with("hearth-"))
            {
                if layer(used) <= layer(&name) {
                    problems.push(format!("{name} uses {used}"));
                }
            }
        }
    }
    none(problems, "a crate uses crates of lower layers only");
}

#[test]
fn files_are_short() {
    let long = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{} has {lines} lines", shown(&path)));
    none(
        long.collect(),
        "a file that outgrows 500 lines usually holds two ideas",
    );
}

#[test]
fn functions_are_short() {
    let (mut problems, modules) = (Vec::new(), modules());
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        let longest = match is_test(&path, &modules) {
            true => LONGEST_TEST,
            false => LONGEST_FUNCTION,
        };
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if !is_function(line.trim_start()) {
                continue;
            }
            // A signature without a body, in a trait.
            let end = lines[start..]
                .iter()
                .find(|line| line.ends_with(['{', ';']));
            if end.is_some_and(|line| line.ends_with(';')) {
                continue;
            }
            // Formatted code closes a function with a brace at the function's own indentation.
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..]
                .iter()
                .position(|line| *line == close)
                .map_or(0, |end| end + 1);
            if length > longest {
                problems.push(format!("{}:{} has {length} lines", shown(&path), start + 1));
            }
        }
    }
    none(problems, "a function fits on a screen");
}

/// Whether a line begins a function that has a body on further lines.
fn is_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take(6).collect();
    let Some(at) = words.iter().position(|word| *word == "fn") else {
        return false;
    };
    let before = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "async",
        "const",
        "unsafe",
        "extern",
    ];
    words[..at].iter().all(|word| before.contains(word))
        && !line.ends_with(';')
        && !line.ends_with('}')
}

#[test]
fn names_say_something() {
    let problems = sources().into_iter().filter_map(|(path, _)| {
        let empty = path.strip_prefix(root()).unwrap().iter().any(|part| {
            let part = part.to_string_lossy();
            EMPTY_NAMES.contains(&part.trim_end_matches(".rs"))
        });
        empty.then(|| shown(&path))
    });
    none(problems.collect(), "a name says what is inside");
}

#[test]
fn nothing_is_left_over() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if LEFTOVERS
                .iter()
                .any(|word| words_of(line).any(|w| w == *word))
            {
                problems.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    none(problems, "what is not done is not in the code");
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

#[test]
fn every_file_begins_with_what_it_owns() {
    let modules = modules();
    let bare = sources()
        .into_iter()
        .filter(|(path, text)| !is_test(path, &modules) && !text.starts_with("//!"))
        .map(|(path, _)| shown(&path));
    none(bare.collect(), "the head of a file says what it owns");
}

#[test]
fn every_file_is_compiled() {
    let (all, modules) = (sources(), modules());
    let roots = targets(&["lib", "bin", "test", "bench", "example"]);
    let dead = all
        .iter()
        .filter(|(path, _)| {
            !roots.contains(path) && !modules.iter().any(|(module, _)| module == path)
        })
        .map(|(path, _)| shown(path));
    none(dead.collect(), "a file that nobody compiles is dead");
}

/// The root files of the crates' targets of these kinds.
fn targets(kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for member in members() {
        let manifest = manifest(&member);
        for target in kinds.iter().filter_map(|kind| manifest.get(*kind)) {
            let several = target.as_array().cloned();
            for target in several.unwrap_or_else(|| vec![target.clone()]) {
                let path = target.get("path").and_then(|path| path.as_str());
                found.push(member.join(path.unwrap_or("lib.rs")));
            }
        }
    }
    found
}

/// Every file that a `mod` line names, and whether only tests compile it for that line.
fn modules() -> Vec<(PathBuf, bool)> {
    let roots = targets(&["lib", "bin", "test", "bench", "example"]);
    let tests = targets(&["test", "bench"]);
    let mut found: Vec<_> = tests.into_iter().map(|test| (test, true)).collect();
    for (path, text) in sources() {
        let folder = path.parent().unwrap();
        let inside = match roots.contains(&path) || path.ends_with("mod.rs") {
            true => folder.to_owned(),
            false => path.with_extension(""),
        };
        let mut for_tests = false;
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [.., "mod", name] = words[..]
                && let Some(name) = name.strip_suffix(';')
            {
                found.push((inside.join(format!("{name}.rs")), for_tests));
                found.push((inside.join(name).join("mod.rs"), for_tests));
            }
            for_tests = line == "#[cfg(test)]" || (for_tests && line.starts_with("#["));
        }
    }
    found
}

/// Whether only tests compile the file: it is named for tests, or lies below a file that is.
fn is_test(path: &Path, modules: &[(PathBuf, bool)]) -> bool {
    let mut below = modules.iter().filter(|(_, for_tests)| *for_tests);
    path.starts_with(root().join("src/testkit"))
        || below.any(|(module, _)| module == path || path.starts_with(module.with_extension("")))
}

#[test]
fn bad_input_does_not_end_anything() {
    let (mut problems, modules) = (Vec::new(), modules());
    for (path, text) in sources() {
        if is_test(&path, &modules) {
            continue;
        }
        // Inline tests stand at the end of a file.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let mut allowed_until = 0;
        for (number, line) in code.lines().enumerate() {
            let line_of_code = line.trim_start();
            if line_of_code.starts_with("//") {
                continue;
            }
            if line_of_code.starts_with("#[allow(") && line.contains("clippy::") {
                allowed_until = number + 4;
            }
            if number > allowed_until && PANICS.iter().any(|call| line.contains(call)) {
                problems.push(format!("{}:{}: {}", shown(&path), number + 1, line_of_code));
            }
        }
    }
    none(
        problems,
        "a broken invariant is an error and an alarm, not the end",
    );
}
