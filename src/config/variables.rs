//! The environment variables that set keys. The variable of a key is `TAGWARDEN__SECTION__KEY`, in
//! capitals, with two underscores between levels.
//!
//! A variable that looks like ours and sets nothing is a mistake, because the setting that somebody
//! thinks is in force would not be. Only the variables that Kubernetes sets for a service of our
//! name are ignored.

use std::collections::{BTreeMap, HashMap};

use config::Environment;
use serde_json::Value;

use super::mistake::{Aspect, Mistake, Mistakes};
use super::suggest::closest;
use super::{FILE_VARIABLE, TEXT_VARIABLE};

/// The prefix of every environment variable that sets a key.
const KEY_PREFIX: &str = "TAGWARDEN__";
/// The start of every name that looks like ours.
const OURS: &str = "TAGWARDEN";
/// The variables that Kubernetes sets in every pod if a service is called `tagwarden` (Kubernetes
/// documentation, Service, environment variables).
const OF_A_SERVICE: [&str; 2] = ["TAGWARDEN_SERVICE_", "TAGWARDEN_PORT"];
/// The arrays of tables, which no variable can write.
const FILE_ONLY: [&str; 3] = ["notify.topics", "policy.exceptions", "policy.rules"];
/// The key of which an empty variable counts as missing, so that its own error explains the choice.
const CHOSEN: &str = "policy.mode";

/// Returns the name of the variable that sets a key, unless no variable can.
pub(super) fn name_of(key: &str) -> Option<String> {
    let is_file_only = FILE_ONLY.into_iter().any(|list| is_within(key, list));
    let name = || format!("{KEY_PREFIX}{}", key.to_uppercase().replace('.', "__"));
    (!is_file_only && !names_an_item(key)).then(name)
}

/// Returns the key that a variable of this name would set, whether or not there is such a key.
fn key_of(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(KEY_PREFIX)?;
    let is_ours = !name.contains(|c: char| c.is_lowercase());
    is_ours.then(|| name.to_lowercase().replace("__", "."))
}

/// Returns whether the config crate would take this key for the path of one item of a list. It
/// would then make room for all items before that one.
pub(super) fn names_an_item(key: &str) -> bool {
    key.contains('[')
}

fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The variables that set keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    set: BTreeMap<String, String>,
    /// Whether the variable of the mode is empty. The mode is missing then, whatever the file says.
    forgets_mode: bool,
}

impl Variables {
    /// Finds the variables that set keys of this schema, and the mistakes: every variable that
    /// looks like ours and sets no key.
    pub(super) fn read(
        environment: &HashMap<String, String>,
        schema: &Value,
    ) -> (Self, Vec<Mistake>) {
        let known = keys(schema);
        let mut ours = BTreeMap::new();
        let mut forgets_mode = false;
        let mut mistakes = Vec::new();
        let mut names: Vec<_> = environment.keys().filter(|name| looks_like_ours(name)).collect();
        names.sort();
        for name in names {
            let value = environment.get(name).map(String::as_str).unwrap_or_default();
            match key_of(name).filter(|key| known.contains(key)) {
                Some(key) if value.is_empty() && key == CHOSEN => forgets_mode = true,
                Some(key) if value.is_empty() => mistakes.push(empty(name).about(&key)),
                Some(key) => {
                    ours.insert(key, value.to_owned());
                }
                None => mistakes.push(unknown(name, schema, &known)),
            }
        }
        (Self { set: ours, forgets_mode }, mistakes)
    }

    /// Returns whether a variable sets this key.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.set.contains_key(key)
    }

    /// Returns whether the mode is missing because its variable is empty: somebody meant to choose
    /// another mode than the file's.
    pub(super) fn forgets_mode(&self) -> bool {
        self.forgets_mode
    }

    /// Returns the layer of the variables. Their values stay text: a key that holds a number parses
    /// it, while an account or an external id that looks like a number keeps its leading zeros.
    pub(super) fn layer(&self) -> Environment {
        Environment::default().source(Some(self.set.clone().into_iter().collect()))
    }
}

/// Returns the error of a variable that is set to nothing.
pub(super) fn empty(name: &str) -> Mistake {
    let problem = format!("the environment variable {name} is empty");
    Mistake::general(problem).help("unset it, or give it a value")
}

impl Mistake {
    fn about(self, key: &str) -> Self {
        Self { key: Some((key.to_owned(), Aspect::Value)), ..self }
    }
}

/// Returns an error for every variable that looks like ours and is read by nothing.
///
/// # Errors
/// Every such variable.
pub(super) fn check(environment: &HashMap<String, String>, schema: &Value) -> Result<(), Mistakes> {
    let (_, mistakes) = Variables::read(environment, schema);
    if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
}

fn looks_like_ours(name: &str) -> bool {
    let is_ours = name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS));
    is_ours
        && name != FILE_VARIABLE
        && name != TEXT_VARIABLE
        && !OF_A_SERVICE.into_iter().any(|start| name.starts_with(start))
}

fn unknown(name: &str, schema: &Value, known: &[String]) -> Mistake {
    if let Some(key) = key_of(name) {
        if let Some(list) = FILE_ONLY.into_iter().find(|list| is_within(&key, list)) {
            let problem = format!("is set by {name}, and variables cannot set it");
            return Mistake::of(list, Aspect::Absence, problem)
                .help("write it in a configuration file");
        }
        if section(schema, &key).is_some() {
            let problem = format!("is set by {name}, and it is a section, which has no value");
            let first = known.iter().find(|other| is_within(other, &key));
            let first = first.and_then(|key| name_of(key)).unwrap_or_default();
            return Mistake::of(&key, Aspect::Absence, problem)
                .help(format!("set its keys, such as {first}"));
        }
    }
    let problem = Mistake::general(format!("the environment variable {name} sets no key"));
    let key = key_of(name).unwrap_or_default();
    let (parent, leaf) = key.rsplit_once('.').unwrap_or_default();
    if section(schema, parent).is_some() {
        let keys = known.iter().filter_map(|key| key.rsplit_once('.'));
        let names: Vec<_> = keys.filter(|(of, _)| *of == parent).map(|(_, leaf)| leaf).collect();
        return match closest(leaf, names.iter().copied()) {
            Some(meant) => problem.meant(name_of(&format!("{parent}.{meant}")).as_deref()),
            None => problem.help(format!("the keys of {parent} are {}", names.join(", "))),
        };
    }
    let names: Vec<_> = known.iter().filter_map(|key| name_of(key)).collect();
    let names = names.iter().map(String::as_str).chain([FILE_VARIABLE, TEXT_VARIABLE]);
    // All names begin alike, which would make every one of them likely.
    let given = name.get(OURS.len()..).unwrap_or_default();
    let meant = closest(given, names.filter_map(|name| name.strip_prefix(OURS)));
    let meant = meant.map(|rest| format!("{OURS}{rest}"));
    problem.meant(meant.as_deref()).help(
        "unset it, or name the key: TAGWARDEN__SECTION__KEY, in capitals and with two underscores",
    )
}

/// Returns the section of this name, if the key names one.
fn section<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() {
        return None;
    }
    let found = key.split('.').try_fold(schema, |schema, part| schema.get("properties")?.get(part));
    found.filter(|schema| schema.get("properties").is_some())
}

/// Returns all keys that have a value, in order.
fn keys(schema: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if below.get("properties").is_some() {
            keys.extend(self::keys(below).into_iter().map(|key| format!("{name}.{key}")));
        } else if below.get("items").is_none_or(|items| items.get("properties").is_none()) {
            keys.push(name.clone());
        }
    }
    keys
}
