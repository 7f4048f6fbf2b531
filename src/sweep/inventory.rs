//! Inspects the images of a registry page by page, for scheduled sweeps and for sweeps from the
//! command line. It changes nothing.
//!
//! Every tagged image gets an entry, also one that cannot be judged or inspected, so that the
//! counts of a sweep show what no scan covers.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tracing::warn;

use crate::aws::AwsError;
use crate::domain::coverage::Coverage;
use crate::domain::evaluation::Evaluation;
use crate::domain::findings::{Finding, SeverityCounts};
use crate::domain::image::{Image, ImageKind, StorageStatus};
use crate::domain::names::{Digest, RegistryId, Repository, Tag};
use crate::domain::policy::{Mode, Policy};
use crate::event::Claim;
use crate::inspect::{
    BasicScan, CallPace, EcrCalls, Inspection, Inspector, PulledThrough, Request, Safeguards,
    Urgency, Violation, basic_scan,
};
use crate::outcome::Failure;
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// The images of one page, which take a few seconds.
pub(super) const IMAGES_A_PAGE: u16 = 100;
/// The images that are inspected at the same time.
const AT_ONCE: usize = 8;

/// One image, its coverage, and the acts that the policy asks for.
#[derive(Clone, Debug)]
pub struct InventoryEntry {
    /// The image, its tags in order.
    pub image: Image,
    /// Whether a scan covers it, and with which result.
    pub coverage: Coverage,
    /// Tags that are to be removed, or would be if the policy were not in audit mode.
    pub untag: Vec<Tag>,
    /// Whether the image itself is deleted with them.
    pub delete: bool,
    /// Tags that stay although the image violates the policy.
    pub kept: Vec<Tag>,
    /// The reasons in words.
    pub reasons: Vec<String>,
    /// The findings that count, by severity.
    pub counted: SeverityCounts,
    /// The worst findings that count, at most ten, each with one of its packages.
    pub findings: Vec<Finding>,
    /// Whether it is an index that is not known as a whole, so that the team is notified of it by
    /// name.
    pub is_unresolved: bool,
    /// The image, or the images of an index, that basic scanning scans.
    pub basic: Vec<BasicScan>,
}

impl InventoryEntry {
    fn new(image: Image, coverage: Coverage) -> Self {
        Self {
            image,
            coverage,
            untag: Vec::new(),
            delete: false,
            kept: Vec::new(),
            reasons: Vec::new(),
            counted: SeverityCounts::default(),
            findings: Vec::new(),
            is_unresolved: false,
            basic: Vec::new(),
        }
    }

    fn because(self, reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], ..self }
    }

    fn judged(mut self, evaluation: &Evaluation) -> Self {
        self.reasons.extend(evaluation.reasons.iter().cloned());
        self.counted = evaluation.counted.clone();
        // A finding may name a thousand packages, and a page has a hundred images.
        let one_package = |finding: &Finding| Finding {
            packages: finding.packages.first().cloned().into_iter().collect(),
            ..finding.clone()
        };
        self.findings = evaluation.worst.iter().map(one_package).collect();
        self
    }
}

/// A page of a repository's images.
#[derive(Debug, Default)]
pub(crate) struct InventoryPage {
    /// The images that were inspected, in ECR's order.
    pub images: Vec<InventoryEntry>,
    /// The number of images that ECR lists in a way that cannot be understood.
    pub unread: u64,
    /// The token of the next page; `None` if this is the last.
    pub next_token: Option<String>,
    /// The failure that ended the page before its end.
    pub failure: Option<Failure>,
}

/// Inspects the images of repositories.
#[derive(Debug)]
pub(crate) struct Inventory<R> {
    ecr: Arc<EcrCalls<R>>,
    inspector: Arc<Inspector<R>>,
    safeguards: Arc<Safeguards<R>>,
    own: RegistryId,
    shutdown: Shutdown,
}

impl<R: Registry> Inventory<R> {
    /// Creates an inventory for a worker in the registry `own`.
    #[must_use]
    pub(crate) fn new(
        ecr: Arc<EcrCalls<R>>,
        inspector: Arc<Inspector<R>>,
        safeguards: Arc<Safeguards<R>>,
        own: RegistryId,
        shutdown: Shutdown,
    ) -> Self {
        Self { ecr, inspector, safeguards, own, shutdown }
    }

    /// Returns the repositories of a registry that this policy covers, by name.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn covered(
        &self,
        policy: &Policy,
        registry_id: &RegistryId,
    ) -> Result<Vec<Repository>, AwsError> {
        let RegistryId { account, region } = registry_id;
        let names = self.ecr.unguarded().repositories(registry_id).await?.into_iter();
        let mut covered: Vec<_> = names
            .map(|name| Repository { account: account.clone(), region: region.clone(), name })
            .filter(|repository| policy.check_scope(repository, &self.own).is_ok())
            .collect();
        covered.sort();
        Ok(covered)
    }

    /// Inspects a page of the tagged images of the request's repository.
    pub(crate) async fn page(
        &self,
        request: &Request,
        token: Option<&str>,
        pace: &CallPace,
    ) -> InventoryPage {
        let read = |registry| R::page(registry, &request.repository, token, IMAGES_A_PAGE);
        let page = match self.ecr.call(request, read).await {
            // A repository that no longer exists has no images.
            Ok(page) => page.unwrap_or_default(),
            Err(failure) => {
                return InventoryPage { failure: Some(failure), ..InventoryPage::default() };
            }
        };
        let mut inspected = InventoryPage { unread: page.unread, ..InventoryPage::default() };
        let inspections = page.images.into_iter().map(|image| self.entry(request, image, pace));
        let mut inspections = stream::iter(inspections).buffered(AT_ONCE);
        while let Some(entry) = inspections.next().await {
            match entry {
                Ok(entry) => inspected.images.extend(entry),
                Err(failure) => {
                    inspected.failure = Some(failure);
                    return inspected;
                }
            }
        }
        inspected.next_token = page.next_token;
        inspected
    }

    /// Inspects one image. If the image cannot be inspected, the entry says so, and the others are
    /// still inspected. A refusal is an error instead, because the others would be refused too.
    async fn entry(
        &self,
        request: &Request,
        image: Image,
        pace: &CallPace,
    ) -> Result<Option<InventoryEntry>, Failure> {
        if self.shutdown.is_draining() {
            return Err(Failure::Abandoned);
        }
        let of = image.clone();
        match Box::pin(self.inspect(request, image, pace)).await {
            Err(failure @ (Failure::Refused(_) | Failure::Abandoned)) => Err(failure),
            // The message can come again and inspect the whole page once more.
            Err(failure @ Failure::Transient(_))
                if request.urgency != Urgency::Immediate && !request.attempt.is_last() =>
            {
                Err(failure)
            }
            Err(failure) => {
                let digest = &of.digest;
                warn!(%digest, error = %failure, "cannot inspect an image of the sweep");
                Ok(Some(InventoryEntry::new(of, Coverage::Failed).because(failure.to_string())))
            }
            entry => entry,
        }
    }

    /// Inspects the image with this digest again, and the indexes that hold it, because an
    /// assessment of the image acts on them too.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be inspected.
    pub(crate) async fn again(
        &self,
        request: &Request,
        digest: &Digest,
        pace: &CallPace,
    ) -> Result<Vec<InventoryEntry>, Failure> {
        let mut all = Vec::new();
        all.extend(self.inspect_digest(request, digest, pace).await?);
        let violates =
            |one: &InventoryEntry| one.image.kind != ImageKind::Index && one.coverage.violates();
        if all.first().is_some_and(violates)
            && let Some(tagged) = self.inspector.evaluator().tagged_images(request).await?
        {
            for holder in tagged.holding(digest) {
                all.extend(self.inspect_digest(request, holder.digest(), pace).await?);
            }
        }
        Ok(all)
    }

    async fn inspect_digest(
        &self,
        request: &Request,
        digest: &Digest,
        pace: &CallPace,
    ) -> Result<Option<InventoryEntry>, Failure> {
        match self.inspector.evaluator().image(request, digest).await? {
            Some(image) => self.inspect(request, image, pace).await,
            None => Ok(None),
        }
    }

    /// Inspects an image. Returns `None` if it is gone.
    async fn inspect(
        &self,
        request: &Request,
        mut image: Image,
        pace: &CallPace,
    ) -> Result<Option<InventoryEntry>, Failure> {
        image.tags.sort();
        let at_a_glance = match (image.kind, image.storage) {
            (ImageKind::Artifact, StorageStatus::Archived | StorageStatus::Activating) => {
                Some(Coverage::NotAnImage)
            }
            (_, StorageStatus::Archived) => Some(Coverage::Archived),
            (_, StorageStatus::Activating) => Some(Coverage::Scanning),
            // Its only tag is our mark.
            _ if !image.is_tagged() && !image.is_referrer() => Some(Coverage::Quarantined),
            _ => None,
        };
        if let Some(coverage) = at_a_glance {
            return Ok(Some(InventoryEntry::new(image, coverage)));
        }
        pace.wait().await;
        let of = image.clone();
        let mut basic = Vec::new();
        let inspection = match image.kind {
            ImageKind::Index => {
                let index = self.inspector.inspect_index_at(pace, request, image).await?;
                basic = index.basic;
                index.inspection
            }
            ImageKind::Image | ImageKind::Artifact => {
                let Some(snapshot) = self.inspector.evaluator().snapshot(request, &image).await?
                else {
                    return Ok(None);
                };
                // Charts, signatures and the like, which no scanner scans.
                let is_attachment = image.kind == ImageKind::Artifact || image.is_referrer();
                if is_attachment && !snapshot.shows_findings() {
                    return Ok(Some(InventoryEntry::new(image, Coverage::NotAnImage)));
                }
                basic.extend(basic_scan(&snapshot));
                let scan = snapshot.scan();
                if let (Some(coverage), Some(gap)) = (Coverage::of_gap(scan), scan.gap()) {
                    let entry = InventoryEntry { basic, ..InventoryEntry::new(image, coverage) };
                    return Ok(Some(entry.because(gap)));
                }
                self.inspector.evaluator().judge(request, Arc::new(snapshot), &Claim::Nothing).await
            }
        };
        let index_only = || InventoryEntry::new(of.clone(), Coverage::IndexOnly);
        let entry = match inspection {
            Inspection::Clean(evaluation, _) => {
                InventoryEntry::new(of.clone(), Coverage::Clean).judged(&evaluation)
            }
            Inspection::Violation(violation) => self.violating(request, *violation).await?,
            Inspection::NotAnImage => InventoryEntry::new(of.clone(), Coverage::NotAnImage),
            // It has more findings than are read.
            Inspection::Unscanned(image, reason) if image.kind != ImageKind::Index => {
                InventoryEntry::new(image, Coverage::Unavailable).because(reason)
            }
            Inspection::Unscanned(_, reason) | Inspection::Wait(_, reason, _) => {
                index_only().because(reason)
            }
            Inspection::Unresolved(_, reason) => {
                warn!(digest = %of.digest, reason, "an index of the sweep is not known as a whole");
                InventoryEntry { is_unresolved: true, ..index_only().because(reason) }
            }
            Inspection::LeftToScan(_) => {
                index_only().because("ECR has not scanned all of its images")
            }
            Inspection::Absent | Inspection::Unpulled => {
                index_only().because("none of its images exists")
            }
        };
        Ok(Some(InventoryEntry { basic, ..entry }))
    }

    async fn violating(
        &self,
        request: &Request,
        violation: Violation,
    ) -> Result<InventoryEntry, Failure> {
        let violation = self.safeguards.check(request, violation).await?;
        let Violation { image, evaluation, plan, cause, .. } = violation;
        let coverage = if plan.hold.is_some() {
            Coverage::Held
        } else if plan.untag.is_empty() {
            Coverage::Blocked
        } else if !plan.blockers.is_empty() {
            let pulled = self.safeguards.pulled_through(request).await?;
            if matches!(pulled, PulledThrough::By(_)) {
                Coverage::PullThrough
            } else {
                Coverage::Blocked
            }
        } else if request.settings().mode == Mode::Audit {
            Coverage::WouldUntag
        } else {
            Coverage::Untag
        };
        let mut entry = InventoryEntry::new(image, coverage).judged(&evaluation);
        if let Some(child) = cause {
            let platform = child.platform.as_deref().unwrap_or("no platform");
            entry.reasons.push(format!("because of {} ({platform})", child.digest));
        }
        entry.reasons.extend(plan.kept_because.into_iter().chain(plan.blockers));
        entry.kept = plan.kept;
        match coverage {
            Coverage::Untag | Coverage::WouldUntag => {
                (entry.untag, entry.delete) = (plan.untag, plan.delete);
            }
            _ => entry.kept.extend(plan.untag),
        }
        entry.untag.sort();
        entry.kept.sort();
        Ok(entry)
    }
}
