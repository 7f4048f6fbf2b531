//! Decides what to do with an image: keep it, wait, report it as unscanned, or remove tags by a
//! plan.
//!
//! [`decide`] judges the findings that ECR shows. Events only say where to look (invariant 6), but
//! with enhanced scanning ECR's findings can lag behind Inspector's event, and lag must not count
//! as clean. So when ECR's findings violate nothing, they are judged a second time together with
//! what the event claims. If that would violate the policy, the decision is to wait until ECR shows
//! more. Because the same policy judges the claim, an exception that covers a finding also covers
//! the event that announces it. A basic scan that has completed does not lag behind its own event.
//!
//! An image may have 50,000 findings. [`Deciding`] judges them in steps, so that heartbeats and
//! health checks get the thread in between.
//!
//! [`Plan::new`] sorts the tags of a violating image. Invariant 7: protected tags are never
//! removed.

use super::evaluation::{Evaluation, Judging, Subject};
use super::findings::{Finding, FindingList, FindingRef, Findings, Scan, SeverityCounts};
use super::image::Image;
use super::names::{RegistryId, Tag};
use super::policy::{Action, InUse, Policy, RuleSettings};
use super::record::{HoldInForce, KnownRecords};

/// What an event claims about an image's findings. It is compared with what ECR shows and never
/// acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed<'a> {
    /// The event claims nothing about findings.
    Nothing,
    /// The event claims these counts, by this kind of scanning.
    Counts(&'a SeverityCounts, Scanning),
    /// Inspector's event claims this finding.
    Finding(&'a Finding),
}

/// The kind of scanning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanning {
    /// ECR scans an image once.
    Basic,
    /// Amazon Inspector scans an image continuously, and ECR's findings lag behind Inspector's.
    Enhanced,
}

impl Claimed<'_> {
    fn may_be_ahead(self) -> bool {
        matches!(self, Self::Counts(_, Scanning::Enhanced) | Self::Finding(_))
    }
}

/// The decision about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No limit is exceeded, so the image keeps its tags.
    Keep(Evaluation),
    /// There are no findings yet, or more may follow. The text says what ECR shows now.
    Wait(String),
    /// There are no findings to judge. The text is the reason.
    Unscanned(String),
    /// A limit is exceeded, so tags have to be removed.
    Violation(Evaluation),
}

/// Judges the scan of an image in one go. See the module's documentation for how claims of an event
/// count.
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

/// A decision in progress, which judges a number of findings at a time. Tens of thousands of
/// findings take so long that heartbeats and health checks have to run in between.
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
    /// The evaluation of ECR's findings alone, if this is the second pass, which adds the event's
    /// claim.
    shown: Option<Evaluation>,
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
            Scan::NeverScanned | Scan::Pending(_) | Scan::Unavailable(_) => {
                (SeverityCounts::default(), Box::new(std::iter::empty()))
            }
        };
        let judging = Judging::new(policy, subject, unlisted);
        Self { policy, subject, scan, claimed, pass: Pass { judging, left, shown: None } }
    }

    /// Judges at most `most` findings. Returns `None` while findings are left.
    pub fn step(&mut self, most: usize) -> Option<Decision> {
        let (findings, growing) = match self.scan {
            Scan::Complete(findings) => (findings, self.claimed.may_be_ahead()),
            Scan::Active(findings) => (findings, true),
            Scan::NeverScanned | Scan::Pending(_) => {
                return Some(Decision::Wait(self.scan.gap().unwrap_or_default()));
            }
            Scan::Unavailable(_) => {
                return Some(Decision::Unscanned(self.scan.gap().unwrap_or_default()));
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

    /// Ends a pass: returns the decision, or begins the second pass and returns `None`.
    fn ended(&mut self, findings: &'a Findings, growing: bool) -> Option<Decision> {
        let is_excepted = self.pass.judging.is_excepted();
        let evaluation = self.pass.judging.finish();
        match self.pass.shown.take() {
            None if evaluation.violates() => Some(Decision::Violation(evaluation)),
            None if growing && self.claimed != Claimed::Nothing => {
                self.pass = Pass { shown: Some(evaluation), ..self.as_claimed(findings) };
                None
            }
            None => Some(kept(findings, is_excepted, evaluation)),
            Some(_) if evaluation.violates() => {
                Some(Decision::Wait("ECR shows fewer findings than the event".to_owned()))
            }
            Some(shown) => Some(kept(findings, is_excepted, shown)),
        }
    }

    /// Begins a pass over the findings that ECR would show if it did not lag behind the event. The
    /// event's version of a finding replaces ECR's, because Inspector sends an event as soon as it
    /// changes a finding: its severity, score, fix, exploit or packages, or that it is open again.
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
                // If several findings have this id, replace the one that is most like the event's,
                // or else the least severe one, so that no worse finding is hidden.
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

/// Decides when the findings that were read exceed no limit. If ECR has more findings than were
/// read, that proves nothing, and the image is unscanned.
fn kept(findings: &Findings, is_excepted: bool, evaluation: Evaluation) -> Decision {
    if findings.is_cut && !is_excepted {
        return Decision::Unscanned(format!(
            "too many findings: the {} that were read exceed no limit, but ECR lists more",
            findings.list.len()
        ));
    }
    Decision::Keep(evaluation)
}

/// The changes to make to an image that violates the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The tags to remove.
    pub untag: Vec<Tag>,
    /// The tags that stay.
    pub kept: Vec<Tag>,
    /// The reasons why tags stay, in words.
    pub kept_because: Vec<String>,
    /// The quarantine tag: the one that the image has, or else the first one. If that is on another
    /// image, the worker takes the next one when it acts.
    pub quarantine: Tag,
    /// Whether the image already has one of its quarantine tags.
    pub marked: bool,
    /// Whether to delete the image itself, after its tags were removed and the team was notified.
    pub delete: bool,
    /// The reasons why no tag may be removed after all, in words.
    pub blockers: Vec<String>,
    /// The hold because of which no tag may be removed now. It is among the blockers too.
    pub hold: Option<HoldInForce>,
    /// What the records of the image say about these tags, if they were read.
    pub records: Option<KnownRecords>,
    /// The registries in which the quarantine tag has to arrive before any tag is removed.
    pub replicas: Vec<RegistryId>,
    /// Further remarks on the plan for people, in words.
    pub notes: Vec<String>,
}

/// What follows from a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// The image bears our mark and no tag is left to remove.
    Marked,
    /// The image has no tag.
    Untagged,
    /// The tags stay, because they are protected or something blocks their removal.
    Blocked,
    /// Tags are to be removed.
    Remove,
}

impl Plan {
    /// Returns what follows from the plan.
    #[must_use]
    pub fn course(&self) -> Course {
        match (self.untag.is_empty(), self.kept.is_empty()) {
            (true, _) if self.marked => Course::Marked,
            (true, true) => Course::Untagged,
            (true, false) => Course::Blocked,
            (false, _) if !self.blockers.is_empty() => Course::Blocked,
            (false, _) => Course::Remove,
        }
    }

    /// Leaves every tag in place because of a hold.
    pub fn keep_for(&mut self, hold: HoldInForce) {
        self.blockers.push(hold.to_string());
        self.hold = Some(hold);
    }

    /// Creates the plan for an image or index that violates these terms and is in use in `in_use`
    /// tasks or pods.
    #[must_use]
    pub fn new(terms: &RuleSettings, image: &Image, in_use: u64) -> Self {
        let mut plan = Self {
            untag: Vec::new(),
            kept: Vec::new(),
            kept_because: Vec::new(),
            marked: false,
            delete: false,
            quarantine: Tag::quarantine(&image.digest),
            blockers: Vec::new(),
            hold: None,
            records: None,
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
            plan.blockers.push(format!("it is in use in {in_use} {places} (in_use)"));
        }
        plan
    }
}

#[cfg(test)]
mod tests;
