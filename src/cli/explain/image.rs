//! Explains an image that somebody names, by what ECR shows now.

use std::path::Path;
use std::process::ExitCode;

use super::{Arguments, conclude, policy_source};
use crate::app::{self, live, quarantined};
use crate::cli::{Screen, live_failed, misconfigured};
use crate::config::{JudgingSettings, Sources};
use crate::domain::image_reference::NamedImage;
use crate::explain::Explainer;
use crate::shutdown::Shutdown;

/// Returns the image that the command line names; `None` if it names a file.
///
/// # Errors
/// Returns the reason why it names neither.
pub(super) fn named(target: &Path) -> Result<Option<NamedImage>, String> {
    let Some(text) = target.to_str().filter(|text| *text != "-") else { return Ok(None) };
    // If there is such a file, it is meant. No image's name looks like a path or ends like a file.
    let is_path = text.starts_with(['/', '.']) || text.ends_with(".json");
    if is_path || target.exists() {
        return Ok(None);
    }
    match NamedImage::parse(text) {
        Ok(reference) => Ok(Some(reference)),
        Err(error) => Err(format!("{text} is neither a file nor an image: {error}")),
    }
}

pub(super) async fn main(
    arguments: &Arguments,
    settings: JudgingSettings,
    sources: &Sources,
    limits: &[(String, String)],
    named: &NamedImage,
    screen: &Screen,
) -> ExitCode {
    let source = match policy_source(sources, &settings) {
        Ok(source) => source,
        Err(error) => return misconfigured(&error, screen),
    };
    let sdk = app::aws_from_environment().await;
    let own = match live::own_registry(&settings, &sdk).await {
        Ok(own) => own,
        Err(error) => return live_failed(&error),
    };
    let (policy, topics) = (settings.policy.clone(), settings.notify.topics.clone());
    let (has_mode, records) = (settings.mode.is_some(), settings.records);
    let reader = match quarantined::reader(settings.clone(), &sdk, own.clone(), Shutdown::default())
    {
        Ok(reader) => reader,
        Err(error) => return live_failed(&error),
    };
    let named = match quarantined::whole(&reader, named).await {
        Ok(named) => named,
        Err(error) => return live_failed(&error),
    };
    let looked = match live::look_at_image(settings, &sdk, own.clone(), &named, &reader).await {
        Ok(looked) => looked,
        Err(error) => return live_failed(&error),
    };
    let explainer = Explainer { policy: &policy, topics: &topics, own: &own, limits, records };
    let live::NamedImage { repository, live, past } = &looked;
    let mut explanation = explainer.image(repository, &named.image, live, past);
    if screen.is_verbose() {
        explanation.list_keys();
    }
    if !has_mode {
        explanation.note("policy.mode is not set: this is what `enforce` would do".to_owned());
    }
    explanation.judged_by(source);
    conclude(&explanation, arguments.format, screen)
}
