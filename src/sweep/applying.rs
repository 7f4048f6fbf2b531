//! Carries out a saved plan: `tagwarden apply`.
//!
//! Every image of the plan is inspected again, and refused if it has moved on: if its tags or its
//! evaluation differ from the plan, or if it is gone. Otherwise it is enforced by the worker's own
//! assessment, with the same safeguards, limits, audit log and notices, because a second way to
//! write would need a second proof.
//!
//! A plan can be applied again after an interruption. An image whose tags an earlier run has
//! removed bears the mark and is as the plan wants it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use super::applied::{Applied, Done, Stop};
use super::inventory::Inventory;
use super::listing::{Advance, OnAdvance};
use super::plan_file::{Document, Planned};
use super::planning::{by_hand, described, request};
use crate::assess::Assessor;
use crate::domain::coverage::Coverage;
use crate::domain::names::{Digest, InvalidName, RegistryId, Repository, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::{Mode, PolicyVersion};
use crate::health::Health;
use crate::inspect::{CallPace, Freshness, Request};
use crate::notify::Notifier;
use crate::outcome::{Attempt, Failure, Outcome};
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// Why an image exists that the plan deletes, although its tags are gone.
const KEPT: &str = "tags removed; the image is kept, because an index holds it";

/// The parts that carry out a plan.
#[derive(Debug)]
pub(crate) struct ApplyParts<R, N> {
    /// Inspects the images.
    pub inventory: Inventory<R>,
    /// Acts on them.
    pub assessor: Assessor<R, N>,
    /// The policy.
    pub policy: Arc<PolicyVersion>,
    /// The caller's account and Region.
    pub own: RegistryId,
    /// Stops the work after an over-reach.
    pub health: Arc<Health>,
    /// Stops the work at a signal.
    pub shutdown: Shutdown,
    /// The pace of the calls.
    pub pace: CallPace,
}

/// How an image stands to the plan.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// Tags are left to remove.
    ToDo,
    /// The tags are gone, and the image itself is to be deleted.
    ToDelete,
    /// An earlier run has done what the plan asks for.
    DoneBefore,
    /// The image has moved on, or could not be inspected.
    Refused(String),
}

/// Carries out a plan.
#[derive(Debug)]
pub(crate) struct Applier<R, N> {
    parts: ApplyParts<R, N>,
    planned: Vec<Planned>,
    /// The images of the plan and the tags to remove, by repository.
    agreed: HashMap<Repository, Arc<BTreeSet<(Digest, Tag)>>>,
    origin: Origin,
    freshness: Freshness,
    applied: Applied,
}

impl<R: Registry, N: Notifier> Applier<R, N> {
    /// Prepares to carry out a plan from this time of day on.
    ///
    /// # Errors
    /// [`InvalidName`] if the plan names something that cannot exist.
    pub(crate) fn new(
        parts: ApplyParts<R, N>,
        plan: Document,
        now: SystemTime,
    ) -> Result<Self, InvalidName> {
        let planned = plan.planned()?;
        let (origin, freshness) = (by_hand("apply", now), Freshness::now(Some(now)));
        let mut agreed: HashMap<_, BTreeSet<_>> = HashMap::new();
        for Planned { repository, digest, untag, .. } in &planned {
            let tags = untag.iter().map(|tag| (digest.clone(), tag.clone()));
            agreed.entry(repository.clone()).or_default().extend(tags);
        }
        let agreed = agreed.into_iter().map(|(of, tags)| (of, Arc::new(tags))).collect();
        let applied = Applied::new(plan, &planned);
        Ok(Self { parts, planned, agreed, origin, freshness, applied })
    }

    /// Works on one image after the other until all are done, or until the process is told to stop,
    /// when the image in hand is the last. It also ends after an over-reach, and when the team
    /// cannot be notified of removed tags.
    pub(crate) async fn run(mut self, on: OnAdvance<'_>) -> Applied {
        on(Advance::More(self.planned.len()));
        for planned in std::mem::take(&mut self.planned) {
            if self.parts.shutdown.is_draining() {
                break;
            }
            let done = self.apply(&planned).await;
            self.applied.done(planned.position(), done);
            on(Advance::Image);
            if self.parts.health.is_overreached() {
                self.applied.stopped(Stop::Overreach);
                break;
            }
            if self.owes_notice(&planned) {
                self.applied.stopped(Stop::Unnotified);
                break;
            }
        }
        self.applied
    }

    async fn apply(&self, planned: &Planned) -> Done {
        match self.standing(planned).await {
            Standing::ToDo => self.assess(planned, Attempt::ONLY).await,
            // The worker finishes a deletion only at a repeated delivery.
            Standing::ToDelete => {
                let attempt = Attempt { number: 2, ..Attempt::ONLY };
                self.assess(planned, attempt).await
            }
            Standing::DoneBefore => Done::Before,
            Standing::Refused(problem) => Done::Not { word: "refused", problem },
        }
    }

    fn request(&self, planned: &Planned) -> Request {
        let ApplyParts { policy, .. } = &self.parts;
        request(&planned.repository, Some(&planned.digest), &self.origin, self.freshness, policy)
    }

    /// Acts on an image as the worker does. The request names all planned tags, so that the notice
    /// also names those that an earlier run removed.
    async fn assess(&self, planned: &Planned, attempt: Attempt) -> Done {
        let tags = planned.untag.clone();
        let only = Some(self.agreed.get(&planned.repository).cloned().unwrap_or_default());
        let request = Request { tags, attempt, only, ..self.request(planned) };
        match Box::pin(self.parts.assessor.assess(&request)).await.result {
            Ok(Outcome::Absent) if planned.delete => Done::Before,
            // It had no tag left to keep, so it is an index that is blocked and holds it.
            Ok(outcome @ Outcome::Blocked) if attempt.is_repeated() => {
                Done::Not { word: outcome.as_str(), problem: KEPT.to_owned() }
            }
            Ok(outcome) => match undone(&outcome, planned.delete) {
                Some(problem) => Done::Not { word: outcome.as_str(), problem },
                None if outcome == Outcome::AlreadyQuarantined => Done::Before,
                None => Done::Now { word: outcome.as_str() },
            },
            Err(Failure::TagsRefused(problem)) if !self.owes_notice(planned) => {
                Done::Not { word: "refused", problem }
            }
            Err(failure) => {
                let problem = self.problem(planned, &failure);
                Done::Not { word: failure.as_str(), problem }
            }
        }
    }

    /// Returns why an image was not handled, from the worker's failure.
    fn problem(&self, planned: &Planned, failure: &Failure) -> String {
        if !self.owes_notice(planned) {
            return described(failure);
        }
        let unnotified = match failure {
            Failure::TopicRefused { topic, .. } => format!("{topic} was not notified"),
            _ => "nobody was notified".to_owned(),
        };
        format!(
            "tags were removed and {unnotified}; a new run does not repeat the notice ({})",
            described(failure)
        )
    }

    fn owes_notice(&self, planned: &Planned) -> bool {
        self.parts.assessor.owes_notice(&planned.repository, &planned.digest)
    }

    fn is_planned(&self, repository: &Repository, digest: &Digest) -> bool {
        let agreed = self.agreed.get(repository);
        agreed.is_some_and(|agreed| agreed.iter().any(|(planned, _)| planned == digest))
    }

    /// Inspects an image again and compares it with the plan.
    async fn standing(&self, planned: &Planned) -> Standing {
        let ApplyParts { inventory, policy, own, pace, .. } = &self.parts;
        if let Err(why) = policy.check_scope(&planned.repository, own) {
            return Standing::Refused(why.as_str().to_owned());
        }
        let (rule, settings) = policy.terms(&planned.repository);
        if settings.mode == Mode::Audit {
            return Standing::Refused(format!(
                "the mode of {rule} is audit, which changes nothing"
            ));
        }
        let request = self.request(planned);
        let again = match inventory.again(&request, &planned.digest, pace).await {
            Ok(again) => again,
            Err(failure) => return Standing::Refused(described(&failure)),
        };
        let Some((now, holders)) = again.split_first() else {
            return match planned.delete {
                true => Standing::DoneBefore,
                false => Standing::Refused("the image no longer exists".to_owned()),
            };
        };
        let left = match tags_left(planned, &now.image.tags) {
            Ok(left) => left,
            Err(problem) => return Standing::Refused(problem),
        };
        if left.is_empty() {
            return if planned.delete { Standing::ToDelete } else { Standing::DoneBefore };
        }
        if now.coverage == Coverage::Held {
            return Standing::Refused(now.reasons.join("; "));
        }
        if now.coverage != Coverage::Untag || now.untag != left {
            let (coverage, untag) = (now.coverage.as_str(), joined(&now.untag));
            return Standing::Refused(format!(
                "the evaluation differs from the plan: {coverage} {untag}"
            ));
        }
        if now.delete != planned.delete {
            let difference = if now.delete {
                "would be deleted, and the plan keeps it"
            } else {
                "would be kept, and the plan deletes it"
            };
            return Standing::Refused(format!("the image itself {difference} (policy.action)"));
        }
        // The indexes of the plan have been handled by now, because they come first.
        let unplanned = holders.iter().find(|index| index.coverage == Coverage::Untag);
        if let Some(index) = unplanned {
            let digest = &index.image.digest;
            let why = match self.is_planned(&planned.repository, digest) {
                true => "is in the plan and was not handled",
                false => "is not in the plan, and would lose tags too",
            };
            return Standing::Refused(format!("the index {digest} contains it, {why}"));
        }
        Standing::ToDo
    }
}

/// Returns the planned tags that are left to remove.
///
/// The image has moved on unless it has the tags of the plan, without some that an earlier run has
/// removed. Before a tag is removed, the image is marked. So tags that are absent from an image
/// without our mark were not removed by us.
fn tags_left(planned: &Planned, now: &[Tag]) -> Result<Vec<Tag>, String> {
    let Planned { digest, tags, untag, .. } = planned;
    let is_mark = |tag: &&Tag| tag.is_quarantine_of(digest);
    let is_new = now.iter().any(|tag| !tags.contains(tag) && !is_mark(&tag));
    let mut absent = tags.iter().filter(|tag| !now.contains(tag)).peekable();
    let is_marked = now.iter().any(|tag| is_mark(&tag));
    let is_ours = absent.peek().is_none() || is_marked;
    if is_new || !is_ours || !absent.all(|tag| untag.contains(tag)) {
        return Err(format!("its tags differ from the plan: {}", joined(now)));
    }
    Ok(untag.iter().filter(|tag| now.contains(tag)).cloned().collect())
}

fn joined(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "none".to_owned();
    }
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

/// Returns the reason why an image was not handled, from the worker's outcome and whether the plan
/// deletes the image itself. Returns `None` if it was.
fn undone(outcome: &Outcome, delete: bool) -> Option<String> {
    let why = match outcome {
        Outcome::Deleted => return None,
        Outcome::Quarantined | Outcome::AlreadyQuarantined if delete => KEPT,
        Outcome::Quarantined | Outcome::AlreadyQuarantined => return None,
        Outcome::Absent if delete => return None,
        Outcome::Shared(outcome) => return undone(outcome, delete),
        Outcome::Blocked => "it keeps its tags, and the team was notified of the reason",
        Outcome::Held => "somebody holds it, so it keeps its tags until the hold ends",
        Outcome::Unscanned => "it can no longer be judged",
        Outcome::LeftToScan => "a new scan of it has begun",
        Outcome::Overreach => "the registry removed more than requested: no more tags are removed",
        Outcome::Clean => "it no longer violates the policy",
        Outcome::Superseded => "every tag has moved to another image",
        Outcome::Absent => "the image no longer exists",
        outcome => outcome.as_str(),
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::{AccountId, Digest, Region, Repository, RepositoryName};

    fn tags(names: &[&str]) -> Vec<Tag> {
        let mut tags: Vec<_> = names.iter().map(|name| Tag::parse(*name).unwrap()).collect();
        tags.sort();
        tags
    }

    #[test]
    fn absent_tags_were_removed_by_us_only_if_the_image_bears_our_mark() {
        let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
        let mark = Tag::quarantine(&digest).to_string();
        let other = format!("quarantine-{}", "b".repeat(64));
        let repository = Repository {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
            name: RepositoryName::parse("team/app").unwrap(),
        };
        let planned = Planned::of(repository, digest, tags(&["a", "b", "keep"]), tags(&["a", "b"]));
        let left = |now: &[&str]| tags_left(&planned, &tags(now)).ok();
        // As planned, and as an earlier run leaves it.
        assert_eq!(left(&["a", "b", "keep"]), Some(tags(&["a", "b"])));
        assert_eq!(left(&["a", "b", "keep", &mark]), Some(tags(&["a", "b"])));
        assert_eq!(left(&["b", "keep", &mark]), Some(tags(&["b"])));
        assert_eq!(left(&["keep", &mark]), Some(Vec::new()));
        // Somebody else has removed a tag, removed one that stays, or added one.
        assert_eq!(left(&["b", "keep"]), None);
        assert_eq!(left(&["keep"]), None);
        assert_eq!(left(&["b", "keep", &other]), None);
        assert_eq!(left(&["a", "b", &mark]), None);
        assert_eq!(left(&[&mark]), None);
        assert_eq!(left(&["a", "b", "keep", "new"]), None);
        assert_eq!(left(&["keep", "new", &mark]), None);
    }

    #[test]
    fn outcome_counts_as_done_only_if_the_image_is_enforced() {
        for outcome in [Outcome::Quarantined, Outcome::Deleted, Outcome::Quarantined.shared()] {
            assert_eq!(undone(&outcome, false), None);
        }
        for outcome in [Outcome::Deleted, Outcome::Absent, Outcome::Deleted.shared()] {
            assert_eq!(undone(&outcome, true), None);
        }
        let kept = [Outcome::Quarantined, Outcome::AlreadyQuarantined];
        for outcome in kept.into_iter().chain([Outcome::Quarantined.shared()]) {
            assert!(undone(&outcome, true).is_some(), "{outcome:?}");
        }
        let not = [Outcome::Clean, Outcome::Blocked, Outcome::Overreach, Outcome::Superseded];
        for outcome in not.into_iter().chain([Outcome::Clean.shared(), Outcome::WouldUntag]) {
            assert!(undone(&outcome, false).is_some(), "{outcome:?}");
        }
    }
}
