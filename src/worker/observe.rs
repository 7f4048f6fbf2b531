//! What ECR says about an image now, and what the policy says about that. Reads only.

use std::sync::Arc;

use tokio::task::yield_now;

use super::assess::{Assessor, Job};
use super::indexes::IndexJudge;
use super::listings::Holder;
use super::memory::Room;
use super::outcome::Failure;
use crate::domain::findings::{Findings, Scan, SeverityCounts};
use crate::domain::image::Digest;
use crate::domain::index::Child;
use crate::domain::judgement::{Judgement, Subject};
use crate::domain::plan::{Claimed, Deciding, Decision, Image, Kind, Plan, Scanning, Storage};
use crate::domain::policy::{Reporting, Terms};
use crate::event::Claim;
use crate::notify::Notifier;
use crate::registry::Registry;

/// Findings that are judged before heartbeats and health checks get a chance to run.
const FINDINGS_AT_ONCE: usize = 500;

/// What was seen of one image, enough to judge it again.
#[derive(Debug)]
pub struct Sight {
    image: Image,
    scan: Scan,
    /// What its findings take of the memory for findings.
    _room: Room,
}

impl Sight {
    pub(super) fn scan(&self) -> &Scan {
        &self.scan
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.image.digest
    }

    fn findings(&self) -> Option<&Findings> {
        match &self.scan {
            Scan::Complete(findings) | Scan::Active(findings) => Some(findings),
            Scan::Pending(_) | Scan::Unavailable(_) => None,
        }
    }

    /// Whether ECR shows any finding.
    pub(super) fn shows_findings(&self) -> bool {
        self.findings().is_some_and(|findings| findings.counts.worst().is_some())
    }

    pub(super) fn counts(&self) -> SeverityCounts {
        self.findings().map(|findings| findings.counts.clone()).unwrap_or_default()
    }

    pub(super) fn in_use(&self) -> u64 {
        self.findings().map_or(0, |findings| findings.in_use)
    }
}

/// An image, or an index, that violates the policy, and what is to be done about it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The image whose tags are to go.
    pub image: Image,
    /// The child that is to blame, where the image is an index.
    pub cause: Option<Child>,
    /// By which rule and why.
    pub judgement: Judgement,
    /// Number of findings of the image, or of the child.
    pub(super) counts: SeverityCounts,
    /// In how many places the image, or the child, runs.
    pub(super) in_use: u64,
    /// What to do.
    pub plan: Plan,
}

/// What one look at an image came to.
#[derive(Clone, Debug)]
pub enum Seen {
    /// It does not exist.
    Absent,
    /// It is no container image.
    NotAnImage,
    /// It cannot be judged, and nobody can pull it by a tag: attestations and signatures are like that.
    Unpulled,
    /// Its scan has not ended, and an event will come when it has.
    LeftToScan(Option<Arc<Sight>>),
    /// It may keep its tags.
    Clean(Judgement, Option<Arc<Sight>>),
    /// Findings are not there yet, or may still be growing.
    Wait(Image, String, Option<Arc<Sight>>),
    /// There is nothing to judge by.
    Unscanned(Image, String),
    /// An index that is not known as a whole, and none of whose images that are known violates the policy; the text says
    /// what is not known.
    Unresolved(Image, String),
    /// It violates the policy.
    Violation(Box<Violation>),
}

impl Seen {
    /// Takes out what was seen of the image, where that decides nothing for good: another event
    /// may claim more. Whoever goes on to look at others must not hold it.
    pub(super) fn take_sight(&mut self) -> Option<Arc<Sight>> {
        match self {
            Self::Clean(_, sight) | Self::LeftToScan(sight) | Self::Wait(_, _, sight) => {
                sight.take()
            }
            _ => None,
        }
    }
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Looks at the image with this digest and judges it.
    #[tracing::instrument(name = "observe", skip_all, fields(%digest))]
    pub(super) async fn observe(&self, job: Job<'_>, digest: &Digest) -> Result<Seen, Failure> {
        let repository = &job.event.repository;
        let image = self.ecr(job, || self.registry.image(repository, digest)).await?;
        let Some(image) = image else { return Ok(Seen::Absent) };
        let seen = match (image.kind, image.storage) {
            (Kind::Artifact, Storage::Archived | Storage::Activating) => {
                return Ok(Seen::NotAnImage);
            }
            (Kind::Artifact, Storage::Active) if !claims_findings(&job.event.claim) => {
                let Some(sight) = self.sight(job, &image).await? else { return Ok(Seen::Absent) };
                // Only that nobody finds anything in it shows that it is none: what it says of itself hides nothing.
                if !sight.shows_findings() {
                    return Ok(Seen::NotAnImage);
                }
                self.judged(job, Arc::new(sight), &job.event.claim).await
            }
            (_, Storage::Archived) => {
                let reason = "the image is archived: nobody can pull it, and it is not scanned";
                Seen::Unscanned(image, reason.to_owned())
            }
            (_, Storage::Activating) => {
                let reason = "the image is being restored from the archive";
                Seen::Wait(image, reason.to_owned(), None)
            }
            (Kind::Index, Storage::Active) => {
                let claims = matches!(job.event.claim, Claim::Complete { .. } | Claim::Active(_));
                return Ok(match self.observe_index(job, image.clone()).await? {
                    // The list of what hangs on an image, by a tag of its own.
                    Seen::Unscanned(image, _) if image.is_referrer() => Seen::NotAnImage,
                    // An event that claims findings of the index itself is not left to those of its images.
                    Seen::LeftToScan(_) if claims => {
                        let reason = "ECR has not scanned every image of the index";
                        Seen::Wait(image, reason.to_owned(), None)
                    }
                    seen => seen,
                });
            }
            (Kind::Image | Kind::Artifact, Storage::Active) => {
                self.observe_image(job, image, &job.event.claim).await?
            }
        };
        Ok(match seen {
            // Signatures and the like are stored as images are, and no scanner can say anything of them.
            Seen::Unscanned(image, _) if image.is_referrer() => Seen::NotAnImage,
            Seen::Unscanned(image, _) if !self.is_pulled(job, &image).await? => Seen::Unpulled,
            seen => seen,
        })
    }

    /// Whether people can pull the image by a tag, its own or that of an index.
    async fn is_pulled(&self, job: Job<'_>, image: &Image) -> Result<bool, Failure> {
        if image.is_tagged() {
            return Ok(true);
        }
        let listing = self.listing(job).await?;
        Ok(listing.is_some_and(|listing| listing.is_run(&image.digest)))
    }

    /// Judges an image that the event is not about.
    pub(super) async fn observe_other(&self, job: Job<'_>, image: Image) -> Result<Seen, Failure> {
        match image.kind {
            Kind::Index => self.observe_index(job, image).await,
            Kind::Image | Kind::Artifact => self.observe_image(job, image, &Claim::Nothing).await,
        }
    }

    async fn observe_image(
        &self,
        job: Job<'_>,
        image: Image,
        claim: &Claim,
    ) -> Result<Seen, Failure> {
        let Some(sight) = self.sight(job, &image).await? else { return Ok(Seen::Absent) };
        Ok(self.judged(job, Arc::new(sight), claim).await)
    }

    /// Judges what was seen of an image, by this message's assessment or by another's.
    pub(super) async fn judged(&self, job: Job<'_>, sight: Arc<Sight>, claim: &Claim) -> Seen {
        let image = sight.image.clone();
        match self.decided(job, &sight, &[&image.digest], claimed(claim)).await {
            Decision::Keep(judgement) => Seen::Clean(judgement, Some(sight)),
            Decision::Wait(_) if *claim == Claim::Nothing => Seen::LeftToScan(Some(sight)),
            Decision::Wait(_) if *claim == Claim::Failed => {
                Seen::Unscanned(image, "the scan failed".to_owned())
            }
            Decision::Wait(reason) => Seen::Wait(image, reason, Some(sight)),
            Decision::Unscanned(reason) => Seen::Unscanned(image, reason),
            Decision::Violation(judgement) => {
                let (counts, in_use) = (sight.counts(), sight.in_use());
                let plan = Plan::new(self.terms(job), &image, in_use);
                let cause = None;
                let violation = Violation { image, cause, judgement, counts, in_use, plan };
                Seen::Violation(Box::new(violation))
            }
        }
    }

    /// Looks at an index that holds an image that violates the policy.
    #[tracing::instrument(name = "observe", skip_all, fields(digest = %holder.digest()))]
    pub(super) async fn observe_holder(
        &self,
        job: Job<'_>,
        holder: Holder<'_>,
        to_blame: &Violation,
    ) -> Result<Seen, Failure> {
        let (repository, digest) = (&job.event.repository, holder.digest());
        let image = self.ecr(job, || self.registry.image(repository, digest)).await?;
        match image.filter(|image| image.storage == Storage::Active) {
            Some(image) => {
                let judge = IndexJudge::new(self, job, image).blaming(holder.child(), to_blame);
                Ok(Box::pin(judge.judge()).await?.seen)
            }
            None => Ok(Seen::Absent),
        }
    }

    async fn observe_index(&self, job: Job<'_>, image: Image) -> Result<Seen, Failure> {
        Ok(Box::pin(IndexJudge::new(self, job, image).judge()).await?.seen)
    }

    /// What ECR shows of the image; `None`: it is gone.
    pub(super) async fn sight(
        &self,
        job: Job<'_>,
        image: &Image,
    ) -> Result<Option<Sight>, Failure> {
        let repository = &job.event.repository;
        let page = |token: Option<String>, most| async move {
            let token = token.as_deref();
            let page = || self.registry.scan_page(repository, &image.digest, token, most);
            self.ecr(job, page).await
        };
        let read = self.memory.read(job.canary, page).await?;
        Ok(read.map(|(scan, room)| Sight { image: image.clone(), scan, _room: room }))
    }

    #[tracing::instrument(name = "decide", skip_all)]
    pub(super) async fn decided(
        &self,
        job: Job<'_>,
        sight: &Sight,
        digests: &[&Digest],
        claimed: Claimed<'_>,
    ) -> Decision {
        let subject = Subject {
            repository: &job.event.repository.name,
            digests,
            pushed_at: sight.image.pushed_at,
            now: self.context.clock.now(),
        };
        let mut deciding = Deciding::new(&self.context.policy, subject, &sight.scan, claimed);
        let decision = loop {
            match deciding.step(FINDINGS_AT_ONCE) {
                Some(decision) => break decision,
                None => yield_now().await,
            }
        };
        if let Decision::Keep(judgement) | Decision::Violation(judgement) = &decision {
            for &at in &judgement.exceptions {
                self.context.instruments.exception_matched(at);
            }
        }
        decision
    }

    pub(super) fn terms(&self, job: Job<'_>) -> &Terms {
        self.context.policy.terms(&job.event.repository.name).1
    }
}

/// Whether an event says that there are findings.
fn claims_findings(claim: &Claim) -> bool {
    match claim {
        Claim::Complete { counts, .. } => {
            counts.as_ref().is_some_and(|counts| counts.worst().is_some())
        }
        Claim::Active(_) => true,
        Claim::Failed | Claim::Nothing => false,
    }
}

/// What an event claims of an image's findings.
pub fn claimed(claim: &Claim) -> Claimed<'_> {
    match claim {
        Claim::Complete { counts: Some(counts), reporting } => Claimed::Counts(
            counts,
            match reporting {
                Reporting::AbsentIsZero => Scanning::Basic,
                Reporting::AbsentIsUnknown => Scanning::Enhanced,
            },
        ),
        Claim::Active(finding) => Claimed::Finding(finding),
        Claim::Complete { counts: None, .. } | Claim::Failed | Claim::Nothing => Claimed::Nothing,
    }
}
