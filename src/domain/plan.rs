//! From what was observed to what is to be done: the decision, and the plan of calls that it asks for.

use std::time::SystemTime;

use super::coverage::IMAGE_SIZE_EXCEEDED;
use super::findings::{Finding, FindingList, FindingRef, Findings, Scan, SeverityCounts};
use super::image::{Digest, Home, Tag};
use super::judgement::{Judgement, Judging, Subject};
use super::policy::{Action, InUse, Policy, Terms};

/// What a manifest is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A container image.
    #[default]
    Image,
    /// An image index or a Docker manifest list.
    Index,
    /// Something else: a chart, a signature, an attestation.
    Artifact,
}

/// The media types of the configuration of a container image. ECR gives that of any other artifact as its
/// artifactMediaType.
pub const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Whether an artifact of this type is something else than a container image. An image may say of itself that it is one
/// (OCI image specification, "artifactType"), or nothing.
#[must_use]
pub fn is_other_artifact(artifact_type: &str) -> bool {
    !artifact_type.is_empty() && !IMAGE_CONFIGS.contains(&artifact_type)
}

/// Whether an image can be pulled (ECR user guide, "Archiving an image").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// It can.
    #[default]
    Active,
    /// It cannot, until it is restored.
    Archived,
    /// It is being restored.
    Activating,
}

/// What the registry says about one image now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest's digest.
    pub digest: Digest,
    /// Every tag that points to it.
    pub tags: Vec<Tag>,
    /// What the manifest is of.
    pub kind: Kind,
    /// Whether it can be pulled.
    pub storage: Storage,
    /// When it was pushed.
    pub pushed_at: Option<SystemTime>,
    /// The manifest's media type, where the registry tells it.
    pub media_type: Option<String>,
}

impl Image {
    /// Whether it has a tag that people pull by: quarantine tags and the tags that hang signatures on an image do not
    /// count.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.tags.iter().any(|tag| !tag.is_quarantine_of(&self.digest) && !tag.is_referrer())
    }

    /// Whether its tags say that it hangs on another image.
    #[must_use]
    pub fn is_referrer(&self) -> bool {
        !self.tags.is_empty() && self.tags.iter().all(Tag::is_referrer)
    }

    /// Whether people can pull it by a tag of its own.
    #[must_use]
    pub fn is_pullable(&self) -> bool {
        self.kind != Kind::Artifact && self.storage == Storage::Active && self.is_tagged()
    }
}

/// What an event says of an image's findings: held against what ECR shows, never acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed<'a> {
    /// Nothing.
    Nothing,
    /// So many there are, by this kind of scanning.
    Counts(&'a SeverityCounts, Scanning),
    /// This one is there, says Inspector.
    Finding(&'a Finding),
}

/// Who scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanning {
    /// ECR itself, once.
    Basic,
    /// Amazon Inspector, again and again; what ECR shows lags behind it.
    Enhanced,
}

impl Claimed<'_> {
    fn may_be_ahead(self) -> bool {
        matches!(self, Self::Counts(_, Scanning::Enhanced) | Self::Finding(_))
    }
}

/// The policy's verdict on the findings of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No limit is exceeded.
    Keep(Judgement),
    /// Findings are not there yet, or may still be growing; the text says what was seen.
    Wait(String),
    /// There is nothing to judge by; the text says why.
    Unscanned(String),
    /// A limit is exceeded.
    Violation(Judgement),
}

/// Judges the scan of an image. Enhanced scanning's findings can lag behind what the event claims, and lag is not to
/// be taken for clean.
#[must_use]
pub fn decide(
    policy: &Policy,
    subject: &Subject<'_>,
    scan: &Scan,
    claimed: Claimed<'_>,
) -> Decision {
    let mut deciding = Deciding::new(policy, *subject, scan, claimed);
    loop {
        if let Some(decision) = deciding.step(usize::MAX) {
            return decision;
        }
    }
}

/// A decision on the way, a number of findings at a time: tens of thousands of findings take long
/// enough that heartbeats and health checks have to come in between.
pub struct Deciding<'a> {
    policy: &'a Policy,
    subject: Subject<'a>,
    scan: &'a Scan,
    claimed: Claimed<'a>,
    pass: Pass<'a>,
}

/// One pass over the findings.
struct Pass<'a> {
    judging: Judging<'a>,
    left: Box<dyn Iterator<Item = FindingRef<'a>> + Send + 'a>,
    /// The judgement by ECR's findings alone, if this pass is about what the event claims.
    shown: Option<Judgement>,
}

impl<'a> Deciding<'a> {
    /// Begins to judge a scan.
    #[must_use]
    pub fn new(
        policy: &'a Policy,
        subject: Subject<'a>,
        scan: &'a Scan,
        claimed: Claimed<'a>,
    ) -> Self {
        let (unlisted, left): (_, Box<dyn Iterator<Item = _> + Send>) = match scan {
            Scan::Complete(findings) | Scan::Active(findings) => {
                (findings.unlisted(), Box::new(findings.list.iter()))
            }
            Scan::Pending(_) | Scan::Unavailable(_) => {
                (SeverityCounts::default(), Box::new(std::iter::empty()))
            }
        };
        let judging = Judging::new(policy, subject, unlisted);
        Self { policy, subject, scan, claimed, pass: Pass { judging, left, shown: None } }
    }

    /// Judges at most so many findings more. `None`: there are others left.
    pub fn step(&mut self, most: usize) -> Option<Decision> {
        let (findings, growing) = match self.scan {
            Scan::Complete(findings) => (findings, self.claimed.may_be_ahead()),
            Scan::Active(findings) => (findings, true),
            Scan::Pending(state) => return Some(Decision::Wait(format!("ECR's scan is {state}"))),
            Scan::Unavailable(state) => {
                let meaning = match state.as_str() {
                    IMAGE_SIZE_EXCEEDED => ": the image is larger than its scanner takes",
                    _ => "",
                };
                let reason = format!("ECR's scan status is {state}{meaning}");
                return Some(Decision::Unscanned(reason));
            }
        };
        for _ in 0..most {
            match self.pass.left.next() {
                Some(finding) => self.pass.judging.add(finding),
                None => return self.ended(findings, growing),
            }
        }
        None
    }

    /// What follows from a pass that has ended: the decision, or another pass.
    fn ended(&mut self, findings: &'a Findings, growing: bool) -> Option<Decision> {
        let is_excepted = self.pass.judging.is_excepted();
        let judgement = self.pass.judging.finish();
        match self.pass.shown.take() {
            None if judgement.violates() => Some(Decision::Violation(judgement)),
            None if growing && self.claimed != Claimed::Nothing => {
                self.pass = Pass { shown: Some(judgement), ..self.as_claimed(findings) };
                None
            }
            None => Some(kept(findings, is_excepted, judgement)),
            Some(_) if judgement.violates() => {
                Some(Decision::Wait("ECR shows fewer findings than the event".to_owned()))
            }
            Some(shown) => Some(kept(findings, is_excepted, shown)),
        }
    }

    /// The findings that there would be if ECR's did not lag behind the event. The event's version
    /// of a finding takes the place of ECR's, because Inspector changes a finding and sends an
    /// event at once: its severity, score, fix, exploit and packages, or that it is open again.
    fn as_claimed(&self, findings: &'a Findings) -> Pass<'a> {
        let list = &findings.list;
        match self.claimed {
            Claimed::Nothing => self.pass_over(findings.unlisted(), list.iter()),
            Claimed::Counts(counts, _) => {
                let claimed = counts.clone().without(&findings.inactive);
                let counts = findings.counts.clone().at_least(&claimed);
                self.pass_over(counts.without(list.counts()), list.iter())
            }
            Claimed::Finding(finding) => {
                let same = list.iter().enumerate().filter(|(_, known)| known.id() == finding.id);
                // Of several with one id the one that is most like the event's gives way, else the
                // least severe one: no finding must hide.
                let is_like = |known: FindingRef<'_>| {
                    let names = finding.packages.iter().map(|package| package.name.as_str());
                    let is_as_severe = known.severity() == finding.severity;
                    (
                        is_as_severe && known.packages().map(|package| package.name).eq(names),
                        known.severity(),
                    )
                };
                let replaced = same.max_by_key(|(_, known)| is_like(*known));
                let at = replaced.map(|(at, _)| at);
                let others = list.iter().enumerate().filter(move |(other, _)| Some(*other) != at);
                let others = others.map(|(_, finding)| finding);
                let mut pass = self.pass_over(findings.unlisted(), others);
                let claimed = match replaced {
                    Some((_, shown)) => finding.clone().completed_by(shown),
                    None => finding.clone(),
                };
                let claimed: FindingList = [claimed].into_iter().collect();
                claimed.iter().for_each(|finding| pass.judging.add(finding));
                pass
            }
        }
    }

    fn pass_over(
        &self,
        unlisted: SeverityCounts,
        left: impl Iterator<Item = FindingRef<'a>> + Send + 'a,
    ) -> Pass<'a> {
        let judging = Judging::new(self.policy, self.subject, unlisted);
        Pass { judging, left: Box::new(left), shown: None }
    }
}

/// No limit is exceeded by the findings that were read: if there are more, that says nothing.
fn kept(findings: &Findings, is_excepted: bool, judgement: Judgement) -> Decision {
    if findings.is_cut && !is_excepted {
        return Decision::Unscanned(format!(
            "too many findings: ECR lists more than the {} that were read, and those exceed no limit",
            findings.list.len()
        ));
    }
    Decision::Keep(judgement)
}

/// The calls that a violation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tags to untag.
    pub untag: Vec<Tag>,
    /// Tags that stay.
    pub kept: Vec<Tag>,
    /// Why tags stay, in words.
    pub kept_because: Vec<String>,
    /// The quarantine tag: the one that the image bears, else the first. Where that turns out to be on another image, the
    /// act takes the next.
    pub quarantine: Tag,
    /// Whether the image already bears a quarantine tag of its own.
    pub marked: bool,
    /// Whether the image itself is to be deleted when its tags are gone and the team was told.
    pub delete: bool,
    /// Why nothing may be untagged after all, in words.
    pub holds: Vec<String>,
    /// The registries that have to bear the quarantine tag before anything is untagged.
    pub replicas: Vec<Home>,
    /// What people should know of the plan besides, in words.
    pub notes: Vec<String>,
}

impl Plan {
    /// The plan for an image, or an index, that violates these terms and runs in so many places.
    #[must_use]
    pub fn new(terms: &Terms, image: &Image, in_use: u64) -> Self {
        let mut plan = Self {
            untag: Vec::new(),
            kept: Vec::new(),
            kept_because: Vec::new(),
            marked: false,
            delete: false,
            quarantine: Tag::quarantine(&image.digest),
            holds: Vec::new(),
            replicas: Vec::new(),
            notes: Vec::new(),
        };
        for tag in &image.tags {
            if tag.is_quarantine_of(&image.digest) {
                if !plan.marked || *tag < plan.quarantine {
                    plan.quarantine = tag.clone();
                }
                plan.marked = true;
            } else if let Some(why) = terms.keeps(tag) {
                plan.kept_because.push(why);
                plan.kept.push(tag.clone());
            } else {
                plan.untag.push(tag.clone());
            }
        }
        plan.delete = terms.action == Action::Delete && plan.kept.is_empty();
        if terms.in_use == InUse::Block && in_use > 0 {
            let places = if in_use == 1 { "place" } else { "places" };
            plan.holds.push(format!("it is in use in {in_use} {places} (in_use)"));
        }
        plan
    }
}

#[cfg(test)]
mod tests;
