//! Reads what is in quarantine: `tagwarden list`, and the base of `restore` and `explain IMAGE`.

use std::time::SystemTime;

use aws_config::SdkConfig;

use super::live::LiveError;
use super::wiring::{Client, Reading, Surroundings, record_settings};
use super::{Signals, identity};
use crate::config::JudgingSettings;
use crate::domain::image_reference::{ImageReference, NamedImage};
use crate::domain::names::RegistryId;
use crate::quarantined::{self, Listing, NotNamed, Reader, ReaderParts};
use crate::registry::{EcrRegistry, UntagBy};
use crate::shutdown::Shutdown;
use crate::sweep::{OnAdvance, Selection};

/// What is in quarantine, and by whose eyes.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The caller's account and Region.
    pub own: RegistryId,
    /// When the reading began.
    pub now: SystemTime,
    /// What was read.
    pub listing: Listing,
}

/// Builds a reader with the caller's own credentials, and makes no call. `own` is the caller's
/// account and Region.
///
/// # Errors
/// [`LiveError`] if the environment lacks what every call needs.
pub(crate) fn reader(
    settings: JudgingSettings,
    sdk: &SdkConfig,
    own: RegistryId,
    shutdown: Shutdown,
) -> Result<Reader<EcrRegistry>, LiveError> {
    let client = Client::new(sdk, settings.aws, None)?;
    let records = record_settings(settings.records, &settings.restore);
    let of = Surroundings::of_command(settings.policy, records, own.clone(), shutdown, &client);
    let registry = EcrRegistry::new(client.aws, own.clone(), UntagBy::TagAndDigest);
    let reading = Reading::new(&of, registry);
    Ok(Reader::new(ReaderParts {
        inventory: reading.inventory(&of),
        ecr: reading.ecr,
        policy: of.policy.current(),
        own,
        keys: settings.restore.keys,
        max_hold: settings.restore.max_hold,
        calls_per_second: settings.sweep.calls_per_second,
        clock: of.clock,
        shutdown: of.shutdown,
    }))
}

/// Returns the reference to the image that a person names, also by the beginning of its digest.
///
/// # Errors
/// [`LiveError::NotChosen`] if the name does not say which image is meant, else the call that
/// failed.
pub(crate) async fn whole(
    reader: &Reader<EcrRegistry>,
    named: &NamedImage,
) -> Result<ImageReference, LiveError> {
    quarantined::whole(reader, named).await.map_err(|error| match error {
        NotNamed::Unclear(problem) => LiveError::NotChosen(problem),
        NotNamed::Call(error) => LiveError::Call { error },
    })
}

/// Lists what is in quarantine in the repositories of the policy that are selected. At a signal,
/// what was read so far is returned.
///
/// # Errors
/// Returns an error if nothing can be read, and at a second signal.
pub(crate) async fn list(
    settings: JudgingSettings,
    selection: Selection,
    sdk: &SdkConfig,
    mut signals: Signals,
    on: OnAdvance<'_>,
) -> Result<Listed, LiveError> {
    let client = Client::new(sdk, settings.aws.clone(), None)?;
    let shutdown = Shutdown::default();
    let work = async {
        let own = identity::caller(&client.aws).await?;
        let now = client.clock.now();
        let reader = reader(settings, sdk, own, shutdown.clone())?;
        let listing = reader.list(&selection, on).await?;
        Ok(Listed { own: reader.own().clone(), now, listing })
    };
    tokio::select! {
        biased;
        _ = signals.stop(&shutdown) => Err(LiveError::SecondSignal),
        result = work => result,
    }
}
