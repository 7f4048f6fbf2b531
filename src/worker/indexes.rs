//! An index judged by its images, level by level, within the bounds.

use std::collections::HashMap;
use std::slice::from_ref;
use std::time::SystemTime;

use super::assess::{Assessor, Job};
use super::observe::{Seen, Sight, Violation};
use super::outcome::Failure;
use super::survey::{Pace, by_basic_scanning};
use crate::domain::findings::SeverityCounts;
use crate::domain::image::Digest;
use crate::domain::index::{Child, Entry, Role, Walk};
use crate::domain::judgement::Judgement;
use crate::domain::plan::{Claimed, Decision, Image, Kind, Plan};
use crate::domain::policy::{InUse, IndexRule, Terms};
use crate::notify::Notifier;
use crate::registry::{IMAGE_BATCH, Registry};

/// What an index was judged to be.
pub(super) struct Judged {
    pub(super) seen: Seen,
    /// Its images that basic scanning scans, as far as they were looked at, and when it last did.
    pub(super) basic: Vec<(Digest, Option<SystemTime>)>,
}

/// Looks at the images of one index and judges it by them.
pub(super) struct IndexJudge<'a, R, N> {
    assessor: &'a Assessor<R, N>,
    job: Job<'a>,
    image: Image,
    pace: Option<&'a Pace>,
    blamed: Option<Digest>,
    basic: Vec<(Digest, Option<SystemTime>)>,
    look: Look,
}

impl<'a, R: Registry, N: Notifier> IndexJudge<'a, R, N> {
    pub(super) fn new(assessor: &'a Assessor<R, N>, job: Job<'a>, image: Image) -> Self {
        let (look, basic) = Default::default();
        Self { assessor, job, image, pace: None, blamed: None, basic, look }
    }

    /// The same at this pace, which each call waits for by itself, so that a large index leaves the pace to others.
    pub(super) fn paced(self, pace: &'a Pace) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// The same, beginning with an image of it that was looked at: with it, a look at the others is often not needed.
    /// It violates as a part of the index too, unless an exception is for the index: then it is
    /// looked at with the others.
    pub(super) fn blaming(mut self, child: &Child, violation: &Violation) -> Self {
        if self.assessor.context.policy.exceptions.name(&self.image.digest) {
            return self;
        }
        let Violation { judgement, counts, in_use, .. } = violation;
        self.blamed = Some(child.digest.clone());
        self.look.is_of_images = true;
        self.look.in_use = *in_use;
        self.look.worst = Some((child.clone(), judgement.clone(), counts.clone()));
        self
    }

    /// Looks at its images, those of the first level first, and last at those that are hardly images.
    pub(super) async fn judge(mut self) -> Result<Judged, Failure> {
        if self.is_settled() {
            return Ok(self.verdict());
        }
        let root = self.assessor.indexes(self.job, from_ref(&self.image.digest)).await?.pop();
        let Some(root) = root else {
            return Ok(Judged { seen: Seen::Absent, basic: self.basic });
        };
        let mut walk = Walk::of(root.digest());
        let mut level = vec![root];
        let mut hardly = Vec::new();
        while !level.is_empty() {
            let mut inner = Vec::new();
            for entries in walk.enter(&level).chunks(IMAGE_BATCH) {
                let mut images = self.images(entries).await?;
                for entry in entries {
                    match images.remove(&entry.child.digest) {
                        Some(image) if is_index(entry, &image) => inner.push(image.digest),
                        Some(image) if is_hardly_an_image(entry, &image) => {
                            hardly.push((entry.child.clone(), image));
                        }
                        Some(image) => self.look_at(&entry.child, &image).await?,
                        None if entry.role == Role::Index => {
                            walk.unread(from_ref(&entry.child.digest));
                        }
                        // Nobody can pull what is not there.
                        None => self.look.is_of_images = true,
                    }
                    if self.is_settled() {
                        return Ok(self.verdict());
                    }
                }
            }
            let inner = walk.descend(inner);
            level = Vec::new();
            for digests in inner.chunks(IMAGE_BATCH) {
                self.wait().await;
                level.extend(self.assessor.indexes(self.job, digests).await?);
            }
            let is_unread = |digest: &&Digest| level.iter().all(|index| index.digest() != *digest);
            let unread: Vec<_> = inner.iter().filter(is_unread).cloned().collect();
            walk.unread(&unread);
        }
        for (child, image) in &hardly {
            if self.is_settled() {
                break;
            }
            self.look_at_what_is_hardly_an_image(child, image).await?;
        }
        self.look.gap = walk.gap();
        Ok(self.verdict())
    }

    async fn wait(&self) {
        if let Some(pace) = self.pace {
            pace.wait().await;
        }
    }

    /// The images that entries point to, as far as they are there, by digest.
    async fn images(&self, entries: &[Entry]) -> Result<HashMap<Digest, Image>, Failure> {
        self.wait().await;
        let repository = &self.job.event.repository;
        let digests: Vec<_> = entries.iter().map(|entry| entry.child.digest.clone()).collect();
        let call = || self.assessor.registry.images(repository, &digests);
        let images = self.assessor.ecr(self.job, call).await?;
        Ok(images.into_iter().map(|image| (image.digest.clone(), image)).collect())
    }

    async fn look_at(&mut self, child: &Child, image: &Image) -> Result<(), Failure> {
        self.look.is_of_images = true;
        if self.blamed.as_ref() == Some(&image.digest) {
            return Ok(());
        }
        self.wait().await;
        if let Some(sight) = self.assessor.sight(self.job, image).await? {
            self.basic.extend(by_basic_scanning(&sight));
            self.weigh(child, sight).await;
        }
        Ok(())
    }

    /// Attestations and artifacts are no images as long as ECR shows no findings of them. With findings they are judged as
    /// any image is, but for one thing: that one of them is clean saves no index.
    async fn look_at_what_is_hardly_an_image(
        &mut self,
        child: &Child,
        image: &Image,
    ) -> Result<(), Failure> {
        if self.blamed.as_ref() == Some(&image.digest) {
            return Ok(());
        }
        self.wait().await;
        let sight = self.assessor.sight(self.job, image).await?;
        let Some(sight) = sight.filter(Sight::shows_findings) else { return Ok(()) };
        let both = [&child.digest, &self.image.digest];
        match self.assessor.decided(self.job, &sight, &both, Claimed::Nothing).await {
            Decision::Violation(_) => self.weigh(child, sight).await,
            Decision::Keep(judgement) => {
                self.look.hardly = self.look.hardly.take().or(Some(judgement));
            }
            Decision::Unscanned(reason) => {
                self.look.unscanned = self.look.unscanned.take().or(Some(reason));
            }
            Decision::Wait(_) => {}
        }
        Ok(())
    }

    async fn weigh(&mut self, child: &Child, sight: Sight) {
        let both = [&child.digest, &self.image.digest];
        let decision = self.assessor.decided(self.job, &sight, &both, Claimed::Nothing).await;
        let look = &mut self.look;
        look.is_of_images = true;
        look.in_use = look.in_use.max(sight.in_use());
        match decision {
            Decision::Keep(judgement) => look.clean = look.clean.take().or(Some(judgement)),
            Decision::Wait(_) => look.unfinished = true,
            Decision::Unscanned(reason) => {
                let of = child.platform.as_deref().unwrap_or("no platform");
                let reason = format!("{reason}: {} ({of})", child.digest);
                look.unscanned = look.unscanned.take().or(Some(reason));
            }
            Decision::Violation(judgement) => {
                let counts = sight.counts();
                look.worst = look.worst.take().or(Some((child.clone(), judgement, counts)));
            }
        }
    }

    /// Whether no other image changes anything.
    fn is_settled(&self) -> bool {
        let terms = self.assessor.terms(self.job);
        terms.index == IndexRule::Any && terms.in_use == InUse::Untag && self.look.worst.is_some()
    }

    fn verdict(self) -> Judged {
        let terms = self.assessor.terms(self.job);
        Judged { seen: self.look.verdict(terms, self.image), basic: self.basic }
    }
}

/// ECR says so, or the entry does and ECR does not say.
fn is_index(entry: &Entry, image: &Image) -> bool {
    image.kind == Kind::Index || (image.media_type.is_none() && entry.role == Role::Index)
}

fn is_hardly_an_image(entry: &Entry, image: &Image) -> bool {
    image.kind == Kind::Artifact || entry.role == Role::Attestation
}

/// What looking at an index's images came to so far.
#[derive(Default)]
struct Look {
    worst: Option<(Child, Judgement, SeverityCounts)>,
    clean: Option<Judgement>,
    /// One that is clean and hardly an image.
    hardly: Option<Judgement>,
    unscanned: Option<String>,
    unfinished: bool,
    in_use: u64,
    /// Whether it holds any image, there or not.
    is_of_images: bool,
    /// Why it is not known as a whole.
    gap: Option<String>,
}

impl Look {
    fn verdict(self, terms: &Terms, image: Image) -> Seen {
        let Self { worst, clean, hardly, unscanned, unfinished, in_use, is_of_images, gap } = self;
        let violates = match terms.index {
            IndexRule::Any => true,
            IndexRule::All => {
                clean.is_none() && unscanned.is_none() && !unfinished && gap.is_none()
            }
        };
        match (worst, clean, unscanned, gap) {
            (Some((cause, judgement, counts)), ..) if violates => {
                let plan = Plan::new(terms, &image, in_use);
                let cause = Some(cause);
                let violation = Violation { image, cause, judgement, counts, in_use, plan };
                Seen::Violation(Box::new(violation))
            }
            // What nobody has looked at is never taken for clean.
            (.., Some(gap)) => Seen::Unresolved(image, gap),
            // By the rule "all", one image that is clean clears the index.
            (Some(_), Some(judgement), ..) => Seen::Clean(judgement, None),
            // Each child's own scan event leads back here.
            _ if unfinished => Seen::LeftToScan(None),
            (_, _, Some(reason), None) => Seen::Unscanned(image, reason),
            (_, Some(judgement), None, None) => Seen::Clean(judgement, None),
            (_, None, None, None) => match hardly {
                Some(judgement) => Seen::Clean(judgement, None),
                None if is_of_images => Seen::Absent,
                None => Seen::NotAnImage,
            },
        }
    }
}
