//! Lays files, drop-in folder and environment over each other, and remembers where each setting came from.
//!
//! Every layer is judged by itself first, so that a mistake is named at its own line. Must never guess: what is not a
//! known key of the right type is a problem.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{Config, Problem, Problems, problem::line, reference};

/// The start of the names of environment variables that set something.
const PREFIX: &str = "HEARTH__";
/// Configuration files are small; anything longer is a wrong file.
const LONGEST_FILE: u64 = 1 << 20;
/// How many drop-in files are read.
const MOST_FILES: usize = 256;

/// Where `section.key` was set last.
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<(String, String), String>);

impl Origins {
    /// The file and line, or the variable, that set the key; empty for a default.
    pub(super) fn of(&self, section: &str, key: &str) -> String {
        let key = (section.to_owned(), key.to_owned());
        self.0.get(&key).cloned().unwrap_or_default()
    }

    fn set(&mut self, section: &str, key: &str, place: String) {
        self.0.insert((section.to_owned(), key.to_owned()), place);
    }
}

/// All layers together.
pub(super) fn read(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Origins), Problems> {
    let (mut merged, mut origins, mut problems) = (Table::new(), Origins::default(), Vec::new());
    let files = match file.map(files).transpose() {
        Ok(files) => files.unwrap_or_default(),
        Err(problem) => return Err(Problems(vec![problem])),
    };
    for path in files {
        match read_file(&path, &mut origins) {
            Ok(table) => lay_over(&mut merged, table),
            Err(mut wrong) => problems.append(&mut wrong),
        }
    }
    let mut environment: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    environment.sort();
    for (name, value) in environment {
        match read_variable(&name, &value, &mut origins) {
            Ok(table) => lay_over(&mut merged, table),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let config = Config::deserialize_from(merged).map_err(|what| {
        let (place, remedy) = Default::default();
        Problems(vec![Problem {
            place,
            what,
            remedy,
        }])
    })?;
    Ok((config, origins))
}

impl Config {
    fn deserialize_from(table: Table) -> Result<Self, String> {
        table.try_into().map_err(|e| e.message().to_owned())
    }
}

/// The file, and the drop-in files beside it in the order of their names.
fn files(file: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut files = vec![file.to_owned()];
    let folder = file.with_extension("d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(e) => return Err(unreadable(&folder, &e.to_string())),
    };
    let mut further: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    if further.len() > MOST_FILES {
        return Err(unreadable(
            &folder,
            &format!("more than {MOST_FILES} files"),
        ));
    }
    further.sort();
    files.append(&mut further);
    Ok(files)
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem {
        place: path.display().to_string(),
        what: format!("cannot be read: {why}"),
        remedy: "name another with --config, or copy conf/hearth.toml there and edit it".to_owned(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "on the command line's own thread, and its length is looked at first"
)]
fn read_file(path: &Path, origins: &mut Origins) -> Result<Table, Vec<Problem>> {
    let about = fs::metadata(path).map_err(|e| vec![unreadable(path, &e.to_string())])?;
    if about.len() > LONGEST_FILE {
        return Err(vec![unreadable(path, "it is longer than 1 MiB")]);
    }
    let text = fs::read_to_string(path).map_err(|e| vec![unreadable(path, &e.to_string())])?;
    let place = |at: usize| format!("{}:{}", path.display(), line(&text, at));
    let spanned = DeTable::parse(&text).map_err(|e| {
        vec![Problem {
            place: place(e.span().map_or(0, |span| span.start)),
            what: format!("this is not TOML: {}", e.message().trim()),
            remedy: "write sections as [name] and settings as key = value, texts in \"quotes\""
                .to_owned(),
        }]
    })?;
    let mut problems = Vec::new();
    let table = walk(spanned.get_ref(), &place, origins, &mut problems);
    if problems.is_empty() {
        Ok(table)
    } else {
        Err(problems)
    }
}

/// Takes the known keys of the right type, and makes a problem of each other one.
fn walk(
    sections: &DeTable<'_>,
    place: &dyn Fn(usize) -> String,
    origins: &mut Origins,
    problems: &mut Vec<Problem>,
) -> Table {
    let mut table = Table::new();
    for (section, keys) in sections {
        let (at, section) = (section.span().start, section.get_ref().as_ref());
        let known = reference::keys(section);
        let DeValue::Table(keys) = keys.get_ref() else {
            problems.push(misplaced(section, place(at)));
            continue;
        };
        if known.is_empty() {
            problems.push(Problem {
                place: place(at),
                what: format!("there is no section [{section}]"),
                remedy: reference::nearest(section, &reference::sections()),
            });
            continue;
        }
        for (key, value) in keys {
            let (at, key) = (key.span().start, key.get_ref().as_ref());
            match plain(value.get_ref()).map(|value| judge(section, key, value)) {
                Some(Ok(one)) => {
                    lay_over(&mut table, one);
                    origins.set(section, key, place(at));
                }
                Some(Err((what, remedy))) => problems.push(Problem {
                    place: place(at),
                    what,
                    remedy,
                }),
                None => problems.push(Problem {
                    place: place(at),
                    what: format!("`{section}.{key}` has a number out of range"),
                    remedy: String::new(),
                }),
            }
        }
    }
    table
}

/// A value outside a section.
fn misplaced(key: &str, place: String) -> Problem {
    let mut homes = reference::sections();
    homes.retain(|section| reference::keys(section).contains(&key));
    Problem {
        place,
        what: format!("`{key}` stands outside a section"),
        remedy: match homes.first() {
            Some(home) => format!("put it under [{home}]"),
            None => format!("the sections are: {}", reference::sections().join(", ")),
        },
    }
}

/// A table with this one setting, if the key exists and the value is right; else what is wrong and the remedy.
fn judge(section: &str, key: &str, value: Value) -> Result<Table, (String, String)> {
    let known = reference::keys(section);
    if !known.contains(&key) {
        return Err((
            format!("there is no key `{key}` in [{section}]"),
            reference::nearest(key, &known),
        ));
    }
    let one = Table::from_iter([(key.to_owned(), value)]);
    let table = Table::from_iter([(section.to_owned(), Value::Table(one))]);
    match Config::deserialize_from(table.clone()) {
        Ok(_) => Ok(table),
        Err(why) => Err((
            format!("`{section}.{key}` cannot be that: {why}"),
            reference::example(section, key)
                .map(|example| format!("for example: {example}"))
                .unwrap_or_default(),
        )),
    }
}

fn read_variable(name: &str, value: &str, origins: &mut Origins) -> Result<Table, Problem> {
    let wrong = |(what, remedy)| Problem {
        place: name.to_owned(),
        what,
        remedy,
    };
    let path = name[PREFIX.len()..].to_lowercase();
    let Some((section, key)) = path.split_once("__") else {
        let what = "this variable names no key".to_owned();
        return Err(wrong((what, "write HEARTH__SECTION__KEY".to_owned())));
    };
    if reference::keys(section).is_empty() {
        let what = format!("there is no section [{section}]");
        return Err(wrong((
            what,
            reference::nearest(section, &reference::sections()),
        )));
    }
    // A text may go without its quotes; a path or name that looks like a number is still a text.
    let text = Value::String(value.to_owned());
    let parsed: Option<Value> = toml::from_str::<Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"));
    let table = match parsed {
        Some(parsed) => {
            judge(section, key, parsed).or_else(|e| judge(section, key, text).map_err(|_| e))
        }
        None => judge(section, key, text),
    };
    let table = table.map_err(wrong)?;
    origins.set(section, key, name.to_owned());
    Ok(table)
}

/// The value without spans; `None` for a number that does not fit.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(moment) => Value::Datetime(*moment),
        DeValue::Array(values) => {
            let values = values.iter().map(|value| plain(value.get_ref()));
            Value::Array(values.collect::<Option<_>>()?)
        }
        DeValue::Table(values) => {
            let values = values
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), plain(value.get_ref())?)));
            Value::Table(values.collect::<Option<_>>()?)
        }
    })
}

fn lay_over(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay_over(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}
