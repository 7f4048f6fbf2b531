//! The calls to AWS that a verdict leads to, in the order in which the worker makes them.

use super::image::{ExplainedImage, strings};
use super::{Explainer, Verdict};
use crate::domain::findings::SeverityCounts;
use crate::domain::names::{RegistryId, Repository};
use crate::domain::notice::NoticeAction;
use crate::domain::plan::Plan;
use crate::domain::policy::{Action, Unscanned};
use crate::notify::TopicSettings;
use crate::registry::{Records, UNTAG_BATCH};

impl Explainer<'_> {
    /// Adds the calls that change an image or publish a notice.
    pub(super) fn with_calls(
        &self,
        repository: &Repository,
        mut image: ExplainedImage,
        plan: Option<&Plan>,
    ) -> ExplainedImage {
        let name = &repository.name;
        let told = self.told(repository, &image);
        let digest = image.digest.clone().unwrap_or_else(|| "the digest".to_owned());
        if let (Verdict::Untag, Some(plan)) = (image.verdict, plan) {
            image.calls.push(format!("ecr BatchGetImage {name} {digest}"));
            image.calls.push(format!("ecr PutImage {name} {digest} as {}", plan.quarantine));
            image.calls.extend(plan.replicas.iter().map(|RegistryId { account, region }| {
                let mark = &plan.quarantine;
                format!("ecr DescribeImages {name} {mark} in {account} {region}, until it is there")
            }));
            if self.records == Records::Required {
                let (count, tags) =
                    (plan.untag.len(), if plan.untag.len() == 1 { "tag" } else { "tags" });
                image.calls.push(format!(
                    "ecr PutImage {name} a record of {count} {tags}, attached to {digest}"
                ));
            }
            image.calls.extend(plan.untag.chunks(UNTAG_BATCH).map(|tags| {
                let tags = strings(tags).join(", ");
                format!(
                    "ecr BatchDeleteImage {name} {tags}, each only if it still points to {digest}"
                )
            }));
        }
        if let Some(action) = told {
            let publish = |topic: &&TopicSettings| {
                format!("sns Publish {} to {}", action.as_str(), topic.arn)
            };
            let topics = self.topics_for(repository, action, image.violation.as_ref());
            let calls: Vec<_> = topics.map(|topic| publish(&topic)).collect();
            image.calls.extend(calls);
            if self.topics.is_empty() {
                image.calls.push(format!("sns Publish {}", action.as_str()));
            }
        }
        if let (Some(NoticeAction::Deleted), Some(plan)) = (told, plan) {
            image.calls.push(format!(
                "ecr BatchDeleteImage {name} {}, and with it {digest}",
                plan.quarantine
            ));
        }
        image
    }

    /// Returns the action of the notice about this image, if there is one.
    fn told(&self, repository: &Repository, image: &ExplainedImage) -> Option<NoticeAction> {
        let terms = self.policy.terms(repository).1;
        let deletes = terms.action == Action::Delete && image.kept.is_empty();
        match image.verdict {
            Verdict::Untag if deletes => Some(NoticeAction::Deleted),
            Verdict::Untag => Some(NoticeAction::Quarantined),
            Verdict::WouldUntag => Some(NoticeAction::WouldUntag),
            Verdict::Blocked => Some(NoticeAction::Blocked),
            Verdict::Unscanned if terms.unscanned == Unscanned::Tell => {
                Some(NoticeAction::Unscanned)
            }
            _ => None,
        }
    }

    /// Returns a note if an image is deleted with its tags, because no tag brings it back.
    pub(super) fn deletes(
        &self,
        repository: &Repository,
        images: &[ExplainedImage],
    ) -> Option<String> {
        let is_deleted = |image| self.told(repository, image) == Some(NoticeAction::Deleted);
        let note = "policy.action is delete: after the notice the image itself is deleted too";
        images.iter().any(is_deleted).then(|| note.to_owned())
    }

    fn topics_for(
        &self,
        repository: &Repository,
        action: NoticeAction,
        violation: Option<&SeverityCounts>,
    ) -> impl Iterator<Item = &TopicSettings> {
        self.topics.iter().filter(move |topic| topic.takes(repository, action, violation))
    }

    /// Returns notes about actions whose notices no topic receives, although there are topics.
    pub(super) fn untold(&self, repository: &Repository, images: &[ExplainedImage]) -> Vec<String> {
        let mut notes = Vec::new();
        for image in images {
            let Some(action) = self.told(repository, image) else { continue };
            let note = format!(
                "no topic receives notices of the action {} about this image, so nobody is notified",
                action.as_str()
            );
            if !self.topics.is_empty()
                && self.topics_for(repository, action, image.violation.as_ref()).next().is_none()
                && !notes.contains(&note)
            {
                notes.push(note);
            }
        }
        notes
    }
}
