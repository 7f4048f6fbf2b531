//! Makes a plan: inspects every image that the policy covers, and changes nothing.
//!
//! Accounts and Regions are inspected side by side, because each has its own quota of calls, and a
//! policy may cover hundreds of them. In each, the calls keep to `sweep.calls_per_second`, so that
//! the worker and everybody else there can call too.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt as _, stream};

use super::inventory::{Inventory, InventoryPage};
use super::listing::{Advance, Listed, OnAdvance, REGISTRIES_AT_ONCE, Selection, listed};
use super::plan_file::{Document, Entry, PolicyNote, Tally};
use crate::aws::AwsError;
use crate::domain::coverage::Coverage;
use crate::domain::names::{Digest, RegistryId, Repository};
use crate::domain::origin::Origin;
use crate::domain::policy::PolicyVersion;
use crate::event::{Claim, sweep};
use crate::inspect::{CallPace, Freshness, Request, Urgency};
use crate::outcome::{Attempt, Failure};
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// The repositories of one account and Region that are inspected at the same time. Many have only a
/// few images, so that their calls alone would not use up what the pace allows.
const REPOSITORIES_AT_ONCE: usize = 4;

/// The parts that make a plan.
#[derive(Debug)]
pub(crate) struct PlanParts<R> {
    /// Inspects the images.
    pub inventory: Inventory<R>,
    /// The policy.
    pub policy: Arc<PolicyVersion>,
    /// The caller's account and Region.
    pub own: RegistryId,
    /// Stops the work at a signal.
    pub shutdown: Shutdown,
    /// The pace of the calls of each API, account and Region.
    pub calls_per_second: u32,
}

/// No plan can be made, because a call fails that would fail everywhere.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", error.advice())]
pub(crate) struct NothingInspected {
    /// The call's error.
    #[source]
    error: AwsError,
}

/// The result of inspecting one repository.
#[derive(Debug)]
struct Inspected {
    repository: Repository,
    tally: Tally,
    images: Vec<Entry>,
    failure: Option<Failure>,
}

/// The paces of the calls in one account and Region.
#[derive(Debug)]
struct Paces {
    lists: CallPace,
    findings: CallPace,
}

/// Makes a plan.
#[derive(Debug)]
pub(crate) struct Planner<R> {
    parts: PlanParts<R>,
    selection: Selection,
    origin: Origin,
    /// Says that everything that was read since the plan was begun is recent enough.
    freshness: Freshness,
    note: PolicyNote,
    now: SystemTime,
}

impl<R: Registry> Planner<R> {
    /// Creates the maker of a plan that begins at this time of day, by the policy that `note`
    /// describes.
    #[must_use]
    pub(crate) fn new(
        parts: PlanParts<R>,
        selection: Selection,
        note: PolicyNote,
        now: SystemTime,
    ) -> Self {
        let (origin, freshness) = (by_hand("plan", now), Freshness::now(Some(now)));
        Self { parts, selection, origin, freshness, note, now }
    }

    /// Inspects everything, or as much as there is time for until the process is told to stop.
    ///
    /// # Errors
    /// [`NothingInspected`] if a call fails that would fail everywhere.
    pub(crate) async fn run(self, on: OnAdvance<'_>) -> Result<Document, NothingInspected> {
        let mut document = Document::new(&self.parts.own, self.note.clone(), self.now);
        document.only = self.selection.repositories.patterns().to_vec();
        document.all = self.selection.all;
        let mut registries = Vec::new();
        let PlanParts { inventory, policy, own, .. } = &self.parts;
        for Listed { registry_id, repositories, .. } in
            listed(inventory, policy, own, &self.selection, on).await
        {
            document.covers(&registry_id);
            match repositories {
                Ok(repositories) => registries.push(repositories),
                Err(error) if registry_id == self.parts.own && error.is_hopeless() => {
                    return Err(NothingInspected { error });
                }
                Err(error) => {
                    let problem = format!("{error}{}", error.advice());
                    document.failed(&registry_id, None, problem);
                }
            }
        }
        let planner = &self;
        let calls = self.parts.calls_per_second;
        let registries = registries.into_iter().map(|repositories| {
            let paces =
                Arc::new(Paces { lists: CallPace::new(calls), findings: CallPace::new(calls) });
            let inspections = repositories.into_iter().map(move |repository| {
                let paces = Arc::clone(&paces);
                async move { planner.inspect(repository, &paces, on).await }
            });
            stream::iter(inspections).buffer_unordered(REPOSITORIES_AT_ONCE).boxed()
        });
        let mut inspected =
            stream::iter(registries).flatten_unordered(Some(REGISTRIES_AT_ONCE)).boxed();
        while let Some(Inspected { repository, tally, images, failure }) = inspected.next().await {
            match failure {
                None => {}
                Some(Failure::Abandoned) if tally.census.sum(|_| true) == 0 => {
                    document.complete = false;
                    continue;
                }
                Some(Failure::Abandoned) => document.complete = false,
                Some(failure) => {
                    let problem = described(&failure);
                    on(Advance::Failed(format!("{repository}: {problem}")));
                    document.failed(&repository.registry_id(), Some(&repository), problem);
                }
            }
            document.count(&repository, &tally);
            document.images.extend(images);
            on(Advance::Repository);
        }
        document.sort();
        Ok(document)
    }

    /// Inspects all images of a repository.
    async fn inspect(&self, repository: Repository, paces: &Paces, on: OnAdvance<'_>) -> Inspected {
        let PlanParts { inventory, policy, shutdown, .. } = &self.parts;
        let (rule, _) = policy.terms(&repository);
        let request = request(&repository, None, &self.origin, self.freshness, policy);
        let (mut tally, mut images) = (Tally::default(), Vec::new());
        let mut token: Option<String> = None;
        let failure = loop {
            if shutdown.is_draining() {
                break Some(Failure::Abandoned);
            }
            paces.lists.wait().await;
            let page = inventory.page(&request, token.as_deref(), &paces.findings).await;
            tally.census.add(Coverage::Failed, page.unread);
            on(Advance::Images(page.images.len()));
            for entry in &page.images {
                tally.count(entry);
                if self.selection.all || is_of_note(entry.coverage) {
                    images.push(Entry::new(&repository, rule, entry));
                }
            }
            let InventoryPage { next_token, failure, .. } = page;
            token = next_token;
            if failure.is_some() || token.is_none() {
                break failure;
            }
        };
        Inspected { repository, tally, images, failure }
    }
}

/// Returns the origin of an assessment that a person asked for at this time of day.
pub(super) fn by_hand(command: &str, now: SystemTime) -> Origin {
    let time = humantime::format_rfc3339_nanos(now).to_string();
    Origin {
        id: Some(format!("{command} of {time}")),
        source: sweep::SOURCE.to_owned(),
        detail_type: sweep::IMAGE.to_owned(),
        time: Some(time),
        at: Some(now),
    }
}

/// Returns the request about an image, or about a whole repository, that a person asks for.
pub(super) fn request(
    repository: &Repository,
    digest: Option<&Digest>,
    origin: &Origin,
    freshness: Freshness,
    policy: &Arc<PolicyVersion>,
) -> Request {
    Request {
        repository: repository.clone(),
        digest: digest.cloned(),
        tags: Vec::new(),
        claim: Claim::Nothing,
        origin: origin.clone(),
        event_id: origin.id.clone().unwrap_or_default(),
        message_id: None,
        freshness,
        attempt: Attempt::ONLY,
        urgency: Urgency::Immediate,
        only: None,
        policy: Arc::clone(policy),
    }
}

/// Returns a failure in words, with advice for the person at the terminal.
pub(super) fn described(failure: &Failure) -> String {
    format!("{failure}{}", failure.advice())
}

/// Returns whether an image is listed although nobody asked for all: it violates the policy, or it
/// could not be inspected. Images that no scan covers can be most of a registry, so they are only
/// counted.
fn is_of_note(coverage: Coverage) -> bool {
    coverage.violates() || coverage == Coverage::Failed
}
