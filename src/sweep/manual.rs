//! A sweep by hand: `tagwarden sweep`.
//!
//! It inspects every image that the policy covers. With `--apply` it acts on each through the
//! worker's own assessment, with the same safeguards, limits, audit log and notices, because a
//! second way to write would need a second proof. An image of a saved plan is inspected again
//! first, and refused if its tags or its evaluation have changed.

use std::sync::Arc;
use std::time::SystemTime;

use super::inventory::{Inventory, InventoryPage};
use super::plan_file::{Document, Planned, PolicyNote, Tally};
use crate::assess::Assessor;
use crate::aws::AwsError;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::globs::Globs;
use crate::domain::names::{Digest, InvalidName, RegistryId, Repository, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::{Mode, Policy};
use crate::event::{Claim, sweep};
use crate::health::Health;
use crate::inspect::{CallPace, Freshness, Request, Urgency};
use crate::notify::Notifier;
use crate::outcome::{Attempt, Failure, Outcome};
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// The parts that a sweep by hand needs.
#[derive(Debug)]
pub(crate) struct Parts<R, N> {
    /// Inspects the images.
    pub inventory: Inventory<R>,
    /// Acts on them.
    pub assessor: Assessor<R, N>,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The worker's own registry.
    pub own: RegistryId,
    /// Stops the sweep after an over-reach.
    pub health: Arc<Health>,
    /// Stops the sweep at a signal.
    pub shutdown: Shutdown,
    /// The pace of the calls.
    pub pace: CallPace,
}

/// The scope of a sweep.
#[derive(Debug)]
pub struct Scope {
    /// The plan. If it is set, no other images are inspected or changed.
    pub plan: Option<Document>,
    /// The repositories to inspect. If there are none, all are inspected.
    pub repositories: Globs,
    /// Whether clean images are listed too.
    pub all: bool,
    /// Whether tags are removed.
    pub acts: bool,
}

/// The progress of a sweep.
#[derive(Debug)]
pub enum Advance<'a> {
    /// This many more repositories, or images of a plan, will be inspected.
    More(usize),
    /// A repository has been inspected.
    Repository(&'a Repository, &'a Census),
    /// An image of a plan has been handled.
    Image(&'a Repository, &'a Digest),
    /// A registry or repository could not be inspected, for this reason.
    Failed(String),
}

/// The reason why a sweep by hand did not take place.
#[derive(Debug, thiserror::Error)]
pub enum ManualSweepError {
    /// A call failed that would fail for every registry.
    #[error("{error}{}", error.advice())]
    Call {
        /// The call's error.
        #[source]
        error: AwsError,
    },
    /// The plan names something that cannot exist.
    #[error(transparent)]
    Plan(#[from] InvalidName),
}

/// A sweep by hand.
#[derive(Debug)]
pub(crate) struct ManualSweep<R, N> {
    parts: Parts<R, N>,
    plan: Option<Vec<Planned>>,
    scope: Scope,
    origin: Origin,
    /// Says that everything that was read since the sweep began is recent enough.
    freshness: Freshness,
    document: Document,
}

impl<R: Registry, N: Notifier> ManualSweep<R, N> {
    /// Creates a sweep that begins at this time of day.
    ///
    /// # Errors
    /// [`ManualSweepError::Plan`] if the plan names something that cannot exist.
    pub fn new(
        parts: Parts<R, N>,
        mut scope: Scope,
        now: SystemTime,
    ) -> Result<Self, ManualSweepError> {
        let time = humantime::format_rfc3339_nanos(now).to_string();
        let mode: Mode = parts.policy.base.mode;
        let (document, plan) = match scope.plan.take() {
            Some(plan) => {
                let document = plan.to_apply();
                let planned = document.planned()?;
                (document, Some(planned))
            }
            None => {
                let note = PolicyNote { mode: mode.as_str().to_owned(), ..PolicyNote::default() };
                let mut document = Document::new(&parts.own, note, now);
                document.applied = scope.acts;
                (document, None)
            }
        };
        let origin = Origin {
            id: Some(format!("sweep by hand of {time}")),
            source: sweep::SOURCE.to_owned(),
            detail_type: sweep::IMAGE.to_owned(),
            time: Some(time),
            at: Some(now),
        };
        let freshness = Freshness::now(Some(now));
        Ok(Self { parts, plan, scope, origin, freshness, document })
    }

    /// Sweeps until everything is inspected and done, or until the worker stops, when the image in
    /// hand is the last. Returns the document of what was found and done.
    ///
    /// # Errors
    /// [`ManualSweepError::Call`] if nothing can be inspected.
    pub async fn run(
        mut self,
        on: &mut (dyn FnMut(Advance<'_>) + Send),
    ) -> Result<Document, ManualSweepError> {
        match self.plan.take() {
            Some(plan) => {
                on(Advance::More(plan.len()));
                for planned in &plan {
                    if self.is_stopping() {
                        self.document.complete = false;
                        break;
                    }
                    self.apply_if_unchanged(planned).await;
                    on(Advance::Image(&planned.repository, &planned.digest));
                }
            }
            None => self.sweep(on).await?,
        }
        Ok(self.document)
    }

    fn is_stopping(&self) -> bool {
        self.parts.shutdown.is_draining() || self.parts.health.is_overreached()
    }

    async fn sweep(
        &mut self,
        on: &mut (dyn FnMut(Advance<'_>) + Send),
    ) -> Result<(), ManualSweepError> {
        for registry_id in self.parts.policy.registries(&self.parts.own) {
            let covered = match self.parts.inventory.covered(&registry_id).await {
                Ok(covered) => covered,
                Err(error) if registry_id == self.parts.own && error.is_hopeless() => {
                    return Err(ManualSweepError::Call { error });
                }
                Err(error) => {
                    let problem = format!("{error}{}", error.advice());
                    on(Advance::Failed(format!(
                        "{}/{}: {problem}",
                        registry_id.account, registry_id.region
                    )));
                    self.document.failed(&registry_id, None, problem);
                    continue;
                }
            };
            self.document.covers(&registry_id);
            let admits = |one: &Repository| self.scope.repositories.admit(one.name.as_str());
            let admitted: Vec<_> = covered.into_iter().filter(admits).collect();
            on(Advance::More(admitted.len()));
            for repository in &admitted {
                if self.is_stopping() {
                    self.document.complete = false;
                    return Ok(());
                }
                self.sweep_repository(repository, on).await;
            }
        }
        Ok(())
    }

    /// Inspects all images of a repository, and then acts on them if the scope says so.
    async fn sweep_repository(
        &mut self,
        repository: &Repository,
        on: &mut (dyn FnMut(Advance<'_>) + Send),
    ) {
        let request = self.request(repository, None, &[]);
        let from = self.document.images.len();
        let policy = Arc::clone(&self.parts.policy);
        let (rule, _) = policy.terms(&repository.name);
        let mut tally = Tally::default();
        let mut token: Option<String> = None;
        loop {
            let Parts { inventory, pace, .. } = &self.parts;
            let page = inventory.page(&request, token.as_deref(), pace).await;
            let InventoryPage { images, unread, next_token, failure } = page;
            tally.census.add(Coverage::Failed, unread);
            for entry in &images {
                tally.count(entry);
                if self.scope.all || is_of_note(entry.coverage) {
                    self.document.add(repository, rule, entry);
                }
            }
            match failure {
                None => {}
                Some(Failure::Abandoned) => self.document.complete = false,
                Some(failure) => {
                    let problem = described(&failure);
                    on(Advance::Failed(format!("{}: {problem}", repository.name)));
                    self.document.failed(&repository.registry_id(), Some(repository), problem);
                }
            }
            token = next_token;
            if token.is_none() {
                break;
            }
        }
        self.document.count(repository, &tally);
        self.document.sort_from(from);
        on(Advance::Repository(repository, &tally.census));
        if self.scope.acts {
            let planned = self.document.planned().unwrap_or_default().into_iter();
            for one in planned.filter(|one| one.position() >= from && one.goes) {
                if self.is_stopping() {
                    self.document.complete = false;
                    return;
                }
                self.apply(&one).await;
            }
        }
    }

    fn request(&self, repository: &Repository, digest: Option<&Digest>, tags: &[Tag]) -> Request {
        Request {
            repository: repository.clone(),
            digest: digest.cloned(),
            tags: tags.to_vec(),
            claim: Claim::Nothing,
            origin: self.origin.clone(),
            event_id: self.origin.id.clone().unwrap_or_default(),
            message_id: None,
            freshness: self.freshness,
            attempt: Attempt::ONLY,
            urgency: Urgency::Immediate,
        }
    }

    /// Acts on an image as the worker does.
    async fn apply(&mut self, planned: &Planned) {
        let Planned { repository, digest, untag, .. } = planned;
        let request = self.request(repository, Some(digest), untag);
        let (word, problem) = match Box::pin(self.parts.assessor.assess(&request)).await.result {
            Ok(outcome) => (outcome.as_str(), undone(&outcome)),
            Err(failure) => (failure.as_str(), Some(described(&failure))),
        };
        self.document.done(planned.position(), word, problem);
    }

    /// Acts on an image, unless the registry or the policy has changed since the plan was made.
    async fn apply_if_unchanged(&mut self, planned: &Planned) {
        match self.change_since(planned).await {
            None => self.apply(planned).await,
            Some(problem) => self.document.done(planned.position(), "refused", Some(problem)),
        }
    }

    /// Returns the reason why the plan for this image no longer holds, or `None` if it does.
    async fn change_since(&self, planned: &Planned) -> Option<String> {
        let Planned { repository, digest, .. } = planned;
        let Parts { inventory, policy, own, pace, .. } = &self.parts;
        if let Err(why) = policy.check_scope(repository, own) {
            return Some(why.as_str().to_owned());
        }
        let request = self.request(repository, Some(digest), &[]);
        let again = match inventory.again(&request, digest, pace).await {
            Ok(again) => again,
            Err(failure) => return Some(described(&failure)),
        };
        let Some((now, holders)) = again.split_first() else {
            return Some("the image no longer exists".to_owned());
        };
        if now.image.tags != planned.tags {
            let tags = joined(&now.image.tags);
            return Some(format!("its tags differ from the plan: {tags}"));
        }
        if now.coverage != Coverage::Untag || now.untag != planned.untag {
            let untag = joined(&now.untag);
            let coverage = now.coverage.as_str();
            return Some(format!("the evaluation differs from the plan: {coverage} {untag}"));
        }
        if now.delete != planned.delete {
            let difference = if now.delete {
                "would be deleted, and the plan keeps it"
            } else {
                "would be kept, and the plan deletes it"
            };
            return Some(format!("the image itself {difference} (policy.action)"));
        }
        // The indexes of the plan have been handled by now, because they come first.
        let unplanned = holders.iter().find(|index| index.coverage == Coverage::Untag)?;
        Some(format!(
            "the index {} contains it, is not in the plan, and would lose tags too",
            unplanned.image.digest
        ))
    }
}

/// Returns a failure in words, with advice for the person at the terminal.
fn described(failure: &Failure) -> String {
    format!("{failure}{}", failure.advice())
}

fn joined(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "none".to_owned();
    }
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

/// Returns whether an image is listed without `--all`. The others need no action and no attention.
fn is_of_note(coverage: Coverage) -> bool {
    !matches!(coverage, Coverage::Clean | Coverage::Quarantined | Coverage::NotAnImage)
}

/// Returns the reason why an image was not handled, from the worker's outcome. Returns `None` if it
/// was.
fn undone(outcome: &Outcome) -> Option<String> {
    let why = match outcome {
        Outcome::Blocked => "it keeps its tags, and the team was notified of the reason",
        Outcome::Unscanned => "it can no longer be judged",
        Outcome::LeftToScan => "a new scan of it has begun",
        Outcome::Overreach => "the registry removed more than requested: no more tags are removed",
        _ => return None,
    };
    Some(why.to_owned())
}
