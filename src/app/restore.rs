//! Asks the worker to give tags back: `tagwarden restore`.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::SdkConfig;

use super::live::LiveError;
use super::wiring::Client;
use super::{Signals, identity, quarantined};
use crate::ask::{AskedAll, Asker, AskerParts, Chosen, Filters, Finder, NotChosen, Wish};
use crate::config::JudgingSettings;
use crate::domain::image_reference::NamedImage;
use crate::domain::names::{RegistryId, Tag};
use crate::inspect::CallPace;
use crate::quarantined::Reader;
use crate::queue::SqsQueue;
use crate::registry::{EcrRegistry, UntagBy};
use crate::shutdown::{Shutdown, time_for_work};
use crate::sweep::{OnAdvance, Selection};

/// Which images are chosen.
#[derive(Debug)]
pub(crate) enum Choice {
    /// Those that a person names.
    Named {
        /// Their names.
        images: Vec<NamedImage>,
        /// The only tags to give back. If there are none, all that were removed.
        only: BTreeSet<Tag>,
    },
    /// Those in quarantine that fit.
    InBulk {
        /// The repositories to read.
        selection: Selection,
        /// What their images have to fit.
        filters: Filters,
    },
}

/// The images that were chosen.
#[derive(Debug, Default)]
pub(crate) struct Choosing {
    /// The images.
    pub chosen: Vec<Chosen>,
    /// The rules that judged the images in quarantine, chosen or not.
    pub rules: BTreeSet<String>,
    /// The findings that the records of images in quarantine name.
    pub findings: BTreeSet<String>,
    /// The notices of images in quarantine.
    pub notices: BTreeSet<String>,
    /// The globs that match no repository of the policy.
    pub unmatched: Vec<String>,
    /// The repositories of the policy, if there are such globs.
    pub covered: BTreeSet<String>,
    /// The number of images in quarantine.
    pub quarantined: usize,
    /// The number of images without records that were not chosen, because a filter was given.
    pub unrecorded: usize,
    /// The number of repositories that were read.
    pub repositories: u64,
    /// Whether something could not be read.
    pub is_partial: bool,
    /// Whether a signal ended the reading.
    pub is_interrupted: bool,
}

/// Chooses images and asks the worker about them.
#[derive(Debug)]
pub(crate) struct Restoring {
    settings: JudgingSettings,
    sdk: SdkConfig,
    client: Client,
    own: RegistryId,
    principal: String,
}

impl Restoring {
    /// Asks STS who calls. Nothing is changed.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn prepare(
        settings: JudgingSettings,
        sdk: &SdkConfig,
    ) -> Result<Self, LiveError> {
        let client = Client::new(sdk, settings.aws.clone(), None)?;
        let (caller, own) = identity::caller_and_registry(&client.aws).await?;
        let principal = caller.principal()?;
        Ok(Self { settings, sdk: sdk.clone(), client, own, principal })
    }

    /// Returns the caller's account and Region.
    #[must_use]
    pub(crate) fn own(&self) -> &RegistryId {
        &self.own
    }

    /// Returns the unique id of the caller's role or user, as SQS names senders.
    #[must_use]
    pub(crate) fn principal(&self) -> &str {
        &self.principal
    }

    /// Chooses images. Nothing is changed.
    ///
    /// # Errors
    /// [`LiveError::NotChosen`] if a name does not say which image is meant, else the call that
    /// failed.
    pub(crate) async fn choose(
        &self,
        choice: Choice,
        wish: &Wish,
        signals: &mut Signals,
        on: OnAdvance<'_>,
    ) -> Result<Choosing, LiveError> {
        let shutdown = Shutdown::default();
        let (settings, own) = (self.settings.clone(), self.own.clone());
        let reader = quarantined::reader(settings, &self.sdk, own, shutdown.clone())?;
        let work = async {
            match choice {
                Choice::Named { images, only } => {
                    let (registry, now) = (self.registry(), self.client.clock.now());
                    let finder =
                        Finder { reader: &reader, registry: &registry, wish, only: &only, now };
                    Box::pin(named(&finder, &images, &shutdown)).await
                }
                Choice::InBulk { selection, filters } => {
                    Box::pin(in_bulk(&reader, &selection, &filters, on)).await
                }
            }
        };
        tokio::select! {
            biased;
            _ = signals.stop(&shutdown) => Err(LiveError::SecondSignal),
            result = work => result,
        }
    }

    fn registry(&self) -> EcrRegistry {
        EcrRegistry::new(self.client.aws.clone(), self.own.clone(), UntagBy::TagAndDigest)
    }

    /// Asks the worker by its queue, and waits for each further answer as long as `patience` says,
    /// or not at all. At a signal, nothing more is sent.
    ///
    /// # Errors
    /// [`LiveError::SecondSignal`] at a second signal.
    pub(crate) async fn ask(
        &self,
        all: AskedAll,
        patience: Option<Duration>,
        signals: &mut Signals,
        on: OnAdvance<'_>,
    ) -> Result<AskedAll, LiveError> {
        let Some(queue) = &self.settings.queue else { return Ok(all) };
        let shutdown = Shutdown::default();
        let queue = SqsQueue::new(
            self.client.aws.clone(),
            queue.url.clone(),
            queue.visibility_timeout,
            time_for_work(self.settings.grace),
            self.client.clock.clone(),
        );
        let parts = AskerParts {
            queue,
            registry: self.registry(),
            pace: CallPace::new(self.settings.sweep.calls_per_second),
            shutdown: shutdown.clone(),
            clock: self.client.clock.clone(),
            patience,
        };
        let work = Box::pin(Asker::new(parts, all).run(on));
        tokio::select! {
            biased;
            _ = signals.stop(&shutdown) => Err(LiveError::SecondSignal),
            all = work => Ok(all),
        }
    }
}

async fn named(
    finder: &Finder<'_, EcrRegistry>,
    images: &[NamedImage],
    shutdown: &Shutdown,
) -> Result<Choosing, LiveError> {
    let mut choosing = Choosing::default();
    for named in images {
        let chosen = match quarantined::whole(finder.reader, named).await {
            Ok(named) => finder.find(&named).await.map_err(|error| match error {
                NotChosen::BadInput(problem) => LiveError::NotChosen(problem),
                NotChosen::Call(error) => LiveError::Call { error },
            }),
            Err(error) => Err(error),
        };
        if shutdown.is_draining() {
            choosing.is_interrupted = true;
            return Ok(choosing);
        }
        let chosen = chosen?;
        let is_same =
            |one: &Chosen| one.digest == chosen.digest && one.repository == chosen.repository;
        // Two names may be of one image.
        if !choosing.chosen.iter().any(is_same) {
            choosing.chosen.push(chosen);
        }
    }
    choosing.quarantined = choosing.chosen.len();
    Ok(choosing)
}

async fn in_bulk(
    reader: &Reader<EcrRegistry>,
    selection: &Selection,
    filters: &Filters,
    on: OnAdvance<'_>,
) -> Result<Choosing, LiveError> {
    let listing = reader.list(selection, on).await?;
    let (mut chosen, mut unrecorded) = (Vec::new(), 0);
    for image in &listing.images {
        match filters.choose(image) {
            Some(image) => chosen.push(image),
            None if image.facts.is_none() => unrecorded += 1,
            None => {}
        }
    }
    let facts = || listing.images.iter().filter_map(|image| image.facts.as_ref());
    Ok(Choosing {
        chosen,
        unrecorded,
        is_partial: !listing.is_whole(),
        is_interrupted: listing.is_interrupted,
        repositories: listing.repositories,
        quarantined: listing.images.len(),
        rules: facts().map(|facts| facts.rule.clone()).collect(),
        findings: facts().flat_map(|facts| facts.finding_ids.iter().cloned()).collect(),
        notices: facts().map(|facts| facts.notice.clone()).collect(),
        unmatched: listing.unmatched.clone(),
        covered: listing.covered.clone(),
    })
}
