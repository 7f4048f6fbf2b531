//! The options that select repositories, checked.

use super::bad_input::BadInput;
use crate::config::JudgingSettings;
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
