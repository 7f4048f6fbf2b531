//! Judges the findings of one image by the policy: which of them count, and which limits they
//! exceed.
//!
//! Each finding counts unless an exception covers it or the terms leave it out, and every finding
//! that does not count is named with the reason. Two rules keep missing data from making an image
//! clean:
//!
//! - *A finding is left out only if the scanner says what the key asks for.* Basic scanning, for
//!   example, says nothing about fixes and exploits, so `fixable_only` and `exploit_only` leave
//!   none of its findings out.
//! - *A summary that has more findings than the list counts in full.* Nobody can say what the
//!   unlisted findings are, so only an exception for the whole image covers them.
//!
//! Invariant 16: more findings never turn a removal into a keep; an exception can.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::time::SystemTime;

use super::exception::{Concerning, Exception, ExceptionId, Exceptions};
use super::findings::{Finding, FindingRef, Findings, Severity, SeverityCounts};
use super::names::{Digest, Repository};
use super::policy::{Policy, RuleSettings};

/// The most findings that an evaluation lists as the worst.
const NAMED: usize = 10;
/// The most findings that an evaluation keeps for the record of a removal.
const KEPT: usize = 20;

/// The image whose findings are judged, and the time of the evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The repository, which selects the rule.
    pub repository: &'a Repository,
    /// The digests of the image and of the index that it is judged for, if any. Exceptions may name
    /// either.
    pub digests: &'a [&'a Digest],
    /// When the image was pushed, if that is known. A grace period begins then if the scanner does
    /// not say when it first saw a finding.
    pub pushed_at: Option<SystemTime>,
    /// The time at which exceptions and grace periods are compared.
    pub now: SystemTime,
}

/// A limit of the policy that the findings of an image exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The severity that has the limit.
    pub severity: Severity,
    /// The number of findings that count.
    pub count: u64,
    /// The number that the policy allows.
    pub limit: u64,
}

/// The result of judging the findings of an image by the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The name of the rule that was applied.
    pub rule: String,
    /// The findings that count, by severity.
    pub counted: SeverityCounts,
    /// Each limit that is exceeded, worst first. If it is empty, the image may keep its tags.
    pub exceeded: Vec<Exceeded>,
    /// The same in words.
    pub reasons: Vec<String>,
    /// The findings that do not count and the reasons, in words.
    pub notes: Vec<String>,
    /// The worst severity that exceeds its limit.
    pub severity: Option<Severity>,
    /// The worst findings that count, at most ten, worst first. Those of severities that exceed
    /// their limits are preferred.
    pub worst: Vec<Finding>,
    /// The next worst findings that count, at most ten, for the record of a removal.
    pub next_worst: Vec<Finding>,
    /// The exceptions that covered a finding, or the whole image.
    pub exceptions: Vec<ExceptionId>,
}

impl Evaluation {
    /// Returns whether any limit is exceeded.
    #[must_use]
    pub fn violates(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// The reason why a finding does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Aside {
    Excepted(ExceptionId),
    NoFix,
    LowScore,
    NoExploit,
    InGrace,
}

impl Aside {
    fn in_words(self, terms: &RuleSettings, exceptions: &Exceptions) -> String {
        match self {
            Self::Excepted(at) => exceptions.get(at).map_or_else(String::new, |exception| {
                let Exception { owner, reason, expires, .. } = exception;
                format!("excepted by {exception} until {expires} ({owner}: {reason})")
            }),
            Self::NoFix => "no fix is available (fixable_only)".to_owned(),
            Self::LowScore => {
                let least = terms.min_score.map(|score| score.to_string()).unwrap_or_default();
                format!("the score is below {least} (min_score)")
            }
            Self::NoExploit => "no exploit is known (exploit_only)".to_owned(),
            Self::InGrace => {
                let grace = terms.grace.unwrap_or_default();
                format!("known for less than {} (grace)", humantime::format_duration(grace))
            }
        }
    }
}

/// Returns the reason why the terms leave a finding out, if they do. Data that the scanner does not
/// give never leaves a finding out.
fn left_out(finding: FindingRef<'_>, terms: &RuleSettings, subject: &Subject<'_>) -> Option<Aside> {
    if terms.fixable_only.contains(&finding.severity()) && finding.fixable() == Some(false) {
        return Some(Aside::NoFix);
    }
    if terms.min_score.is_some_and(|least| finding.score().is_some_and(|score| score < least)) {
        return Some(Aside::LowScore);
    }
    if terms.exploit_only && finding.exploitable() == Some(false) {
        return Some(Aside::NoExploit);
    }
    let known_since = finding.first_observed().or(subject.pushed_at);
    if let (Some(grace), Some(since)) = (terms.grace, known_since)
        && subject.now.duration_since(since).unwrap_or_default() < grace
    {
        return Some(Aside::InGrace);
    }
    None
}

impl Policy {
    /// Judges the findings of an image.
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use tagwarden::domain::findings::{Findings, Severity};
    /// # use tagwarden::domain::names::{AccountId, Region, Repository, RepositoryName};
    /// # use tagwarden::domain::evaluation::Subject;
    /// # use tagwarden::domain::policy::Policy;
    /// let counts = [(Severity::High, 4), (Severity::Low, 9)].into_iter().collect();
    /// let repository = Repository {
    ///     account: AccountId::parse("111122223333")?,
    ///     region: Region::parse("eu-west-1")?,
    ///     name: RepositoryName::parse("team/app")?,
    /// };
    /// let now = SystemTime::UNIX_EPOCH;
    /// let subject = Subject { repository: &repository, digests: &[], pushed_at: None, now };
    /// let evaluation = Policy::default().judge(&subject, &Findings::new(counts, vec![]));
    /// assert!(evaluation.violates());
    /// assert_eq!(evaluation.reasons, ["high 4 exceeds the limit of 0"]);
    /// # Ok::<_, tagwarden::domain::names::InvalidName>(())
    /// ```
    #[must_use]
    pub fn judge(&self, subject: &Subject<'_>, findings: &Findings) -> Evaluation {
        let mut judging = Judging::new(self, *subject, findings.unlisted());
        findings.list.iter().for_each(|finding| judging.add(finding));
        judging.finish()
    }
}

/// An evaluation in progress. It takes one finding at a time, so that a caller with tens of
/// thousands of findings can let other tasks run in between.
#[derive(Debug)]
pub(super) struct Judging<'a> {
    policy: &'a Policy,
    subject: Subject<'a>,
    rule: &'a str,
    terms: &'a RuleSettings,
    concerning: Concerning<'a>,
    counted: SeverityCounts,
    aside: BTreeMap<(Aside, Severity), u64>,
    /// The worst findings of each severity.
    worst: BTreeMap<Severity, Vec<Finding>>,
    exceptions: BTreeSet<ExceptionId>,
}

impl<'a> Judging<'a> {
    /// Begins with the findings that only the summary counts. They count, because nobody can say
    /// what they are.
    pub(super) fn new(policy: &'a Policy, subject: Subject<'a>, unlisted: SeverityCounts) -> Self {
        let (rule, terms) = policy.terms(subject.repository);
        let Subject { repository, digests, now, .. } = subject;
        let concerning = policy.exceptions.concerning(repository, digests, now);
        // An exception for the whole image covers unlisted findings too.
        let whole = concerning.whole_image();
        Self {
            policy,
            subject,
            rule,
            terms,
            counted: if whole.is_some() { SeverityCounts::default() } else { unlisted },
            aside: BTreeMap::new(),
            worst: BTreeMap::new(),
            exceptions: whole.into_iter().collect(),
            concerning,
        }
    }

    /// Returns whether an exception covers all findings of the image.
    pub(super) fn is_excepted(&self) -> bool {
        self.concerning.whole_image().is_some()
    }

    /// Judges one finding.
    pub(super) fn add(&mut self, finding: FindingRef<'_>) {
        let covering = self.concerning.covering(finding);
        let why = covering.first().map(|&at| Aside::Excepted(at));
        self.exceptions.extend(covering);
        match why.or_else(|| left_out(finding, self.terms, &self.subject)) {
            Some(why) => *self.aside.entry((why, finding.severity())).or_default() += 1,
            None => {
                self.counted.add(finding.severity(), 1);
                self.name(finding);
            }
        }
    }

    /// Lists a finding if it is one of the worst of its severity so far. Which severities exceed
    /// their limits is known only at the end.
    fn name(&mut self, finding: FindingRef<'_>) {
        let worst = self.worst.entry(finding.severity()).or_default();
        let is_full = worst.len() >= KEPT;
        if is_full && worst.last().is_some_and(|last| last.rank() <= finding.rank()) {
            return;
        }
        let at = worst.partition_point(|one| one.rank() <= finding.rank());
        worst.truncate(KEPT - usize::from(is_full));
        worst.insert(at, finding.to_finding());
    }

    /// Returns the worst findings and the next worst, worst first. Those that exceed a limit come
    /// before others that are within theirs, so that none of them is left out for one that does no
    /// harm.
    fn worst(&mut self, exceeded: &[Exceeded]) -> (Vec<Finding>, Vec<Finding>) {
        let mut lists = take(&mut self.worst);
        let mut worst: Vec<_> =
            exceeded.iter().filter_map(|limit| lists.remove(&limit.severity)).flatten().collect();
        worst.extend(lists.into_values().flatten());
        worst.truncate(KEPT);
        let mut next = worst.split_off(worst.len().min(NAMED));
        for list in [&mut worst, &mut next] {
            list.sort_by(|one, other| one.rank().cmp(&other.rank()));
        }
        (worst, next)
    }

    /// Returns the evaluation of all findings that were added. Add no finding after this call.
    pub(super) fn finish(&mut self) -> Evaluation {
        let Self { policy, rule, terms, .. } = *self;
        let (counted, aside) = (take(&mut self.counted), take(&mut self.aside));
        let mut evaluation = Evaluation {
            rule: rule.to_owned(),
            exceptions: take(&mut self.exceptions).into_iter().collect(),
            ..Evaluation::default()
        };
        evaluation.notes = aside
            .into_iter()
            .map(|((why, severity), count)| {
                let verb = if count == 1 { "does" } else { "do" };
                let why = why.in_words(terms, &policy.exceptions);
                format!("{severity} {count} {verb} not count: {why}")
            })
            .collect();
        for (severity, count, limit) in terms.limits.exceeded(&counted) {
            evaluation.severity = evaluation.severity.or(Some(severity));
            evaluation.exceeded.push(Exceeded { severity, count, limit });
            evaluation.reasons.push(format!("{severity} {count} exceeds the limit of {limit}"));
        }
        (evaluation.worst, evaluation.next_worst) = self.worst(&evaluation.exceeded);
        evaluation.counted = counted;
        evaluation
    }
}

#[cfg(test)]
mod tests;
