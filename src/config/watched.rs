//! A watched configuration file: which changes of it may be used while the worker works.
//!
//! The new file and the one in use are compared key by key, after the environment variables have
//! replaced their values. What is not named here needs a new deployment, also a key that a later
//! version of the program knows. A file with such a change is refused as a whole, because its
//! author meant all of it.
//!
//! Of `policy`, the keys stay that say what is done, where, and for which repositories: these
//! choices are made by whoever may deploy. A rule may have its own `mode` and `action`, so all
//! rules up to the last that has them keep what decides for which repositories they apply.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::content::{Content, ContentId};
use super::layers::Layers;
use super::load::check_layers;
use super::validate::Purpose;
use super::{ConfigError, Settings, Sources};
use crate::enforce::LimitSettings;

/// The keys that say what is done, and where.
const ACTS: [&str; 3] = ["mode", "action", "replicated"];
/// The keys of `policy` that say what is covered.
const SCOPE: [&str; 3] = ["accounts", "regions", "repositories"];

/// The configuration file of a worker, and the content that is in use.
#[derive(Debug)]
pub struct WatchedFile {
    sources: Sources,
    path: PathBuf,
    in_use: Version,
}

/// The settings of one content of the file, for comparison.
#[derive(Debug)]
struct Version {
    content: ContentId,
    given: Value,
    limits: LimitSettings,
}

/// A changed configuration that can be used.
#[derive(Debug)]
pub struct Change {
    /// Its settings.
    pub settings: Settings,
    /// The keys that differ, in order.
    pub keys: Vec<String>,
    version: Version,
}

impl Settings {
    /// Reads every source once, and checks every key for a worker. Also returns the configuration
    /// file if it is to be watched.
    ///
    /// # Errors
    /// Returns every mistake.
    pub fn load_watched(sources: &Sources) -> Result<(Self, Option<WatchedFile>), ConfigError> {
        let Some(path) = sources.path() else { return Ok((Self::load(sources)?, None)) };
        let (settings, in_use) = load(sources, Content::read(&path))?;
        let file = settings.watch.then(|| WatchedFile { sources: sources.clone(), path, in_use });
        Ok((settings, file))
    }
}

impl WatchedFile {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content that is in use.
    #[must_use]
    pub fn in_use(&self) -> ContentId {
        self.in_use.content
    }

    /// Checks a changed content of the file.
    ///
    /// # Errors
    /// Returns every reason why it cannot be used, each in one line.
    pub fn check(&self, content: Content) -> Result<Change, Vec<String>> {
        let (settings, version) =
            load(&self.sources, content).map_err(|error| error.messages().collect::<Vec<_>>())?;
        let keys = differences("", Some(&self.in_use.given), Some(&version.given));
        let problems: Vec<_> = keys.iter().flat_map(|key| self.problems(key, &version)).collect();
        if problems.is_empty() { Ok(Change { settings, keys, version }) } else { Err(problems) }
    }

    /// Notes that a change is in use.
    pub fn uses(&mut self, change: Change) {
        self.in_use = change.version;
    }

    /// Returns why a key that differs may not change.
    fn problems(&self, key: &str, new: &Version) -> Vec<String> {
        let needs = |what: &str| vec![format!("{key}: {what}; a new deployment is needed")];
        match key.split_once('.') {
            Some(("policy", "rules")) => changed_rule(&self.in_use.given, &new.given)
                .map(|problem| vec![problem])
                .unwrap_or_default(),
            Some(("policy", name)) if !stays(name) => Vec::new(),
            Some(("limits", name)) if self.in_use.limits.are_widened_by(&new.limits, name) => {
                needs("while the worker works, limits only become tighter")
            }
            Some(("limits", _) | ("notify", "topics")) => Vec::new(),
            _ => needs("it cannot change while the worker works"),
        }
    }
}

/// Returns whether a key of `policy` stays as it is.
fn stays(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or_default();
    ACTS.contains(&name) || SCOPE.contains(&name)
}

fn load(sources: &Sources, content: Content) -> Result<(Settings, Version), ConfigError> {
    let id = content.id();
    let layers = Layers::with(sources, |_| content)?;
    let given = layers.merged.to_json();
    let settings: Settings = check_layers(layers, sources, Purpose::Working)?.try_into()?;
    let version = Version { content: id, given, limits: settings.limits };
    Ok((settings, version))
}

/// Returns the keys whose values differ, in order. A list counts as one value.
fn differences(key: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
    let table = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let (before, after) = match (table(old), table(new)) {
        _ if old == new => return Vec::new(),
        (None, None) => return vec![key.to_owned()],
        (before, after) => (before.unwrap_or_default(), after.unwrap_or_default()),
    };
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let dot = if key.is_empty() { "" } else { "." };
    let below = |name: &String| {
        differences(&format!("{key}{dot}{name}"), before.get(name), after.get(name))
    };
    names.into_iter().flat_map(below).collect()
}

/// Returns the first rule that may not be as it is, if there is one.
fn changed_rule(old: &Value, new: &Value) -> Option<String> {
    let (old, new) = (deciding_rules(old), deciding_rules(new));
    let at = (0..old.len().max(new.len())).find(|&at| old.get(at) != new.get(at))?;
    Some(format!(
        "policy.rules[{at}]: up to the last rule with its own mode, action or replicated, rules \
         keep their place, their repositories and these keys; a new deployment is needed"
    ))
}

/// Returns what the rules say of what is done, and where, up to the last rule that differs in that
/// from the base policy. After it, no rule changes what is done.
fn deciding_rules(given: &Value) -> Vec<Map<String, Value>> {
    let policy = given.get("policy");
    let base = |name: &str| policy.and_then(|policy| policy.get(name)).cloned();
    let rules = policy.and_then(|policy| policy.get("rules")).and_then(Value::as_array);
    let deciding = |rule: &Value| {
        let own = |name: &str| rule.get(name).cloned();
        let scope = SCOPE.into_iter().filter_map(|name| Some((name.to_owned(), own(name)?)));
        let acts = ACTS.into_iter().filter_map(|name| {
            let value = own(name).filter(|value| Some(value) != base(name).as_ref())?;
            Some((name.to_owned(), value))
        });
        scope.chain(acts).collect::<Map<_, _>>()
    };
    let mut rules: Vec<_> = rules.into_iter().flatten().map(deciding).collect();
    let acts = |rule: &Map<String, Value>| ACTS.iter().any(|name| rule.contains_key(*name));
    rules.truncate(rules.iter().rposition(acts).map_or(0, |last| last + 1));
    rules
}
