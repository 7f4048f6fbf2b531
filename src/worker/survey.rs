//! A look at the images that a registry holds, page by page and without any act: what a sweep rests on, by the queue or at
//! the command line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::assess::{Assessor, Job};
use super::indexes::IndexJudge;
use super::observe::{Seen, Sight, Violation};
use super::outcome::Failure;
use super::pull_through::PulledThrough;
use crate::aws::AwsError;
use crate::domain::coverage::Coverage;
use crate::domain::findings::{Scan, Severity};
use crate::domain::image::{Digest, Home, Repository, Tag};
use crate::domain::judgement::Judgement;
use crate::domain::plan::{Image, Kind, Storage};
use crate::domain::policy::Mode;
use crate::event::Claim;
use crate::notify::Notifier;
use crate::registry::Registry;

/// Images of one page: a few seconds of work.
pub(super) const PAGE: u16 = 100;
/// Images that are looked at side by side.
const AT_ONCE: usize = 8;

/// One image: where it stands, and what the policy asks for.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The image, its tags in order.
    pub image: Image,
    /// Where it stands.
    pub coverage: Coverage,
    /// Tags that go, or would but for audit mode.
    pub untag: Vec<Tag>,
    /// Whether the image itself goes with them.
    pub delete: bool,
    /// Tags that stay although the image violates the policy.
    pub kept: Vec<Tag>,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// The worst finding that counts, by its id where the scanner lists it.
    pub worst: Option<(Severity, Option<String>)>,
    /// Whether it is an index that is not known as a whole: people are told of it by name.
    pub(super) is_unresolved: bool,
    /// What basic scanning scans: the image, or the images of an index, and when it last did.
    pub(super) basic: Vec<(Digest, Option<SystemTime>)>,
}

impl Surveyed {
    fn new(image: Image, coverage: Coverage) -> Self {
        let (untag, kept, reasons, basic) = Default::default();
        let (delete, is_unresolved, worst) = (false, false, None);
        Self { image, coverage, untag, delete, kept, reasons, worst, is_unresolved, basic }
    }

    fn because(self, reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], ..self }
    }

    fn judged(mut self, judgement: &Judgement) -> Self {
        self.reasons.extend(judgement.reasons.iter().cloned());
        let listed = judgement.worst.first().map(|worst| (worst.severity, Some(worst.id.clone())));
        let counted = || judgement.counted.worst().map(|severity| (severity, None));
        self.worst = listed.or_else(counted);
        self
    }
}

/// What was seen of a page of a repository's images.
#[derive(Debug, Default)]
pub struct SurveyPage {
    /// Those that were looked at, in ECR's order.
    pub images: Vec<Surveyed>,
    /// How many more there are that we cannot make sense of.
    pub unread: u64,
    /// Where the next page begins; `None`: there is no more to look at.
    pub next_token: Option<String>,
    /// What ended the look before its end.
    pub failure: Option<Failure>,
}

/// Keeps looks at images apart, so that others can call the registry too.
#[derive(Debug)]
pub struct Pace {
    apart: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many in a second.
    #[must_use]
    pub fn new(calls_per_second: u32) -> Self {
        let apart = Duration::from_secs(1) / calls_per_second.max(1);
        Self { apart, next: Mutex::default() }
    }

    /// Waits until the next call may be made.
    pub(super) async fn wait(&self) {
        sleep_until(self.take()).await;
    }

    /// Takes the time of one call; when it may be made. Who has many to make takes each by itself, so that others come in
    /// between.
    fn take(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.unwrap_or_else(Instant::now).max(Instant::now());
        *next = Some(at + self.apart);
        at
    }
}

/// What of it basic scanning scans, if it does: enhanced scanning looks again by itself.
pub(super) fn by_basic_scanning(sight: &Sight) -> Option<(Digest, Option<SystemTime>)> {
    let last = match sight.scan() {
        Scan::Complete(findings) => findings.completed_at,
        scan if Coverage::of_gap(scan) == Some(Coverage::NeverScanned) => None,
        _ => return None,
    };
    Some((sight.digest().clone(), last))
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// The repositories of a registry that the policy covers, by name.
    ///
    /// # Errors
    /// Why they cannot be listed.
    pub async fn covered(&self, home: &Home) -> Result<Vec<Repository>, AwsError> {
        let Home { account, region } = home;
        let names = self.registry.repositories(home).await?.into_iter();
        let mut covered: Vec<_> = names
            .map(|name| Repository { account: account.clone(), region: region.clone(), name })
            .filter(|repository| self.context.policy.reach(repository, &self.context.own).is_ok())
            .collect();
        covered.sort();
        Ok(covered)
    }

    /// Looks at a page of the tagged images of the job's repository.
    pub async fn survey(&self, job: Job<'_>, token: Option<&str>, pace: &Pace) -> SurveyPage {
        let repository = &job.event.repository;
        let page = match self.ecr(job, || self.registry.page(repository, token, PAGE)).await {
            // A repository that is gone has no images.
            Ok(page) => page.unwrap_or_default(),
            Err(failure) => return SurveyPage { failure: Some(failure), ..SurveyPage::default() },
        };
        let mut seen = SurveyPage { unread: page.unread, ..SurveyPage::default() };
        let looks = page.images.into_iter().map(|image| self.survey_or_say_why(job, image, pace));
        let mut looks = stream::iter(looks).buffered(AT_ONCE);
        while let Some(look) = looks.next().await {
            match look {
                Ok(surveyed) => seen.images.extend(surveyed),
                Err(failure) => {
                    seen.failure = Some(failure);
                    return seen;
                }
            }
        }
        seen.next_token = page.next_token;
        seen
    }

    /// One image that cannot be looked at must not keep the others from it; who is refused once is refused again.
    async fn survey_or_say_why(
        &self,
        job: Job<'_>,
        image: Image,
        pace: &Pace,
    ) -> Result<Option<Surveyed>, Failure> {
        if self.context.shutdown.is_draining() {
            return Err(Failure::Abandoned);
        }
        let of = image.clone();
        match Box::pin(self.survey_image(job, image, pace)).await {
            Err(failure @ (Failure::Refused(_) | Failure::Abandoned)) => Err(failure),
            // Whoever can come again looks at the page once more.
            Err(failure @ Failure::Transient(_))
                if !job.at_once && !self.context.is_last_receive(job.message) =>
            {
                Err(failure)
            }
            Err(failure) => {
                warn!(digest = %of.digest, error = %failure, "cannot look at an image of the sweep");
                Ok(Some(Surveyed::new(of, Coverage::Failed).because(failure.to_string())))
            }
            seen => seen,
        }
    }

    /// Looks again at the image with this digest, and at the indexes that hold it: with it, they are acted on.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub async fn survey_again(
        &self,
        job: Job<'_>,
        digest: &Digest,
        pace: &Pace,
    ) -> Result<Vec<Surveyed>, Failure> {
        let mut all = Vec::new();
        all.extend(self.survey_digest(job, digest, pace).await?);
        let is_bad = |one: &Surveyed| one.image.kind != Kind::Index && one.coverage.violates();
        if all.first().is_some_and(is_bad)
            && let Some(listing) = self.listing(job).await?
        {
            for holder in listing.holding(digest) {
                all.extend(self.survey_digest(job, holder.digest(), pace).await?);
            }
        }
        Ok(all)
    }

    async fn survey_digest(
        &self,
        job: Job<'_>,
        digest: &Digest,
        pace: &Pace,
    ) -> Result<Option<Surveyed>, Failure> {
        let repository = &job.event.repository;
        match self.ecr(job, || self.registry.image(repository, digest)).await? {
            Some(image) => self.survey_image(job, image, pace).await,
            None => Ok(None),
        }
    }

    /// Where an image stands; `None`: it is gone.
    async fn survey_image(
        &self,
        job: Job<'_>,
        mut image: Image,
        pace: &Pace,
    ) -> Result<Option<Surveyed>, Failure> {
        image.tags.sort();
        let at_a_glance = match (image.kind, image.storage) {
            (Kind::Artifact, Storage::Archived | Storage::Activating) => Some(Coverage::NotAnImage),
            (_, Storage::Archived) => Some(Coverage::Archived),
            (_, Storage::Activating) => Some(Coverage::Scanning),
            // Our mark alone.
            _ if !image.is_tagged() && !image.is_referrer() => Some(Coverage::Quarantined),
            _ => None,
        };
        if let Some(coverage) = at_a_glance {
            return Ok(Some(Surveyed::new(image, coverage)));
        }
        pace.wait().await;
        let of = image.clone();
        let mut basic = Vec::new();
        let seen = match image.kind {
            Kind::Index => {
                let judge = IndexJudge::new(self, job, image).paced(pace);
                let judged = Box::pin(judge.judge()).await?;
                basic = judged.basic;
                judged.seen
            }
            Kind::Image | Kind::Artifact => {
                let Some(sight) = self.sight(job, &image).await? else { return Ok(None) };
                // Charts, signatures and the like, of which no scanner says anything.
                if (image.kind == Kind::Artifact || image.is_referrer()) && !sight.shows_findings()
                {
                    return Ok(Some(Surveyed::new(image, Coverage::NotAnImage)));
                }
                basic.extend(by_basic_scanning(&sight));
                if let Some(gap) = Coverage::of_gap(sight.scan())
                    && let Scan::Pending(state) | Scan::Unavailable(state) = sight.scan()
                {
                    let surveyed = Surveyed { basic, ..Surveyed::new(image, gap) };
                    return Ok(Some(surveyed.because(format!("ECR's scan is {state}"))));
                }
                self.judged(job, Arc::new(sight), &Claim::Nothing).await
            }
        };
        let index_only = || Surveyed::new(of.clone(), Coverage::IndexOnly);
        let surveyed = match seen {
            Seen::Clean(judgement, _) => {
                Surveyed::new(of.clone(), Coverage::Clean).judged(&judgement)
            }
            Seen::Violation(violation) => self.survey_violation(job, *violation).await?,
            Seen::NotAnImage => Surveyed::new(of.clone(), Coverage::NotAnImage),
            // More findings than are read, which is no fault of an index.
            Seen::Unscanned(image, reason) if image.kind != Kind::Index => {
                Surveyed::new(image, Coverage::Unavailable).because(reason)
            }
            Seen::Unscanned(_, reason) | Seen::Wait(_, reason, _) => index_only().because(reason),
            Seen::Unresolved(_, reason) => {
                warn!(digest = %of.digest, reason, "an index of the sweep is not known as a whole");
                Surveyed { is_unresolved: true, ..index_only().because(reason) }
            }
            Seen::LeftToScan(_) => index_only().because("ECR has not scanned all of its images"),
            Seen::Absent | Seen::Unpulled => index_only().because("none of its images is there"),
        };
        Ok(Some(Surveyed { basic, ..surveyed }))
    }

    async fn survey_violation(
        &self,
        job: Job<'_>,
        mut violation: Violation,
    ) -> Result<Surveyed, Failure> {
        self.hold(job, &mut violation).await?;
        let Violation { image, judgement, plan, cause, .. } = violation;
        let coverage = if plan.untag.is_empty() {
            Coverage::Blocked
        } else if !plan.holds.is_empty() {
            let pulled = self.pull_through(job).await?;
            if matches!(pulled, PulledThrough::By(_)) {
                Coverage::PullThrough
            } else {
                Coverage::Blocked
            }
        } else if self.terms(job).mode == Mode::Audit {
            Coverage::WouldUntag
        } else {
            Coverage::Untag
        };
        let mut surveyed = Surveyed::new(image, coverage).judged(&judgement);
        if let Some(child) = cause {
            let platform = child.platform.as_deref().unwrap_or("no platform");
            surveyed.reasons.push(format!("because of {} ({platform})", child.digest));
        }
        surveyed.reasons.extend(plan.kept_because.into_iter().chain(plan.holds));
        surveyed.kept = plan.kept;
        match coverage {
            Coverage::Untag | Coverage::WouldUntag => {
                (surveyed.untag, surveyed.delete) = (plan.untag, plan.delete);
            }
            _ => surveyed.kept.extend(plan.untag),
        }
        surveyed.untag.sort();
        surveyed.kept.sort();
        Ok(surveyed)
    }
}
