//! The options that select repositories, checked.

use std::collections::BTreeSet;

use super::bad_input::BadInput;
use crate::config::{JudgingSettings, closest, did_you_mean};
use crate::domain::globs::Globs;
use crate::domain::names::Region;

/// Reads the globs of `--repository`.
///
/// # Errors
/// Says which one is wrong.
pub(super) fn globs(texts: &[String]) -> Result<Globs, BadInput> {
    if texts.iter().any(|glob| glob.trim().is_empty()) {
        return Err("--repository: is empty; leave it out for all".to_owned().into());
    }
    Globs::new(texts.iter().cloned()).map_err(|error| format!("--repository: {error}").into())
}

/// Says that globs match none of the repositories that the policy covers, and which was probably
/// meant. Returns `None` if each of them matches one.
pub(super) fn mistyped(unmatched: &[String], covered: &BTreeSet<String>) -> Option<String> {
    if unmatched.is_empty() {
        return None;
    }
    let globs: Vec<_> = unmatched.iter().map(|glob| format!("{glob:?}")).collect();
    let problem =
        format!("--repository: {} matches no repository that the policy", globs.join(", "));
    if covered.is_empty() {
        return Some(format!(
            "{problem} covers: there is none; is it the right account and Region?"
        ));
    }
    let looked = match covered.len() {
        1 => "it covers 1".to_owned(),
        all => format!("it covers {all}"),
    };
    let meant = unmatched.iter().find_map(|glob| closest(glob, covered.iter().map(String::as_str)));
    Some(format!("{problem} covers ({looked}){}", did_you_mean(meant)))
}

/// Returns the Region of `--region`, if the policy covers it.
///
/// # Errors
/// Says that it does not.
pub(super) fn in_policy(
    region: Option<&Region>,
    settings: &JudgingSettings,
) -> Result<Option<Region>, BadInput> {
    if let (Some(region), Some(regions)) = (region, &settings.policy.regions)
        && !regions.contains(region)
    {
        return Err(format!("--region: {region} is not in policy.regions").into());
    }
    Ok(region.cloned())
}
