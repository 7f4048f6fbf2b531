//! What follows when the registry took more than was asked for.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::assess::{Assessor, Case, joined};
use super::outcome::{Failure, Outcome};
use crate::domain::image::{Digest, Tag};
use crate::domain::notice::NoticeAction;
use crate::domain::untag::AnsweredId;
use crate::notify::Notifier;
use crate::registry::{Manifest, Registry, Tagging};
use crate::telemetry::logs::AUDIT;

/// Attempts to put back what went.
const PUT_BACK_ATTEMPTS: u32 = 6;

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// The registry took more than was asked for: report it, put it back, tell the team.
    pub(super) async fn overreach(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        gone: Vec<Tag>,
        left: Vec<Tag>,
        beyond: &[AnsweredId],
    ) -> Result<Outcome, Failure> {
        let repository = case.repository();
        let took = described(beyond);
        error!(
            target: AUDIT,
            message_id = case.job.message.id,
            repository = %repository.name,
            digest = %case.image.digest,
            asked = joined(&case.plan.untag),
            beyond = took,
            // All that is needed to put the image back by hand, should this process not live to do it.
            manifest = manifest.text,
            "over-reach: the registry took more than was asked for; putting it back; untagging is stopped until a restart"
        );
        let mut lost = self.put_back(case, manifest, beyond).await;
        for attempt in 1..PUT_BACK_ATTEMPTS {
            if lost.is_empty() {
                break;
            }
            warn!(repository = %repository.name, lost = lost.join("; "), attempt, "putting back again");
            sleep(Duration::from_secs(1) * attempt).await;
            lost = self.put_back(case, manifest, beyond).await;
        }
        let mut tags = self.tags_after(case, gone);
        tags.kept.extend(left.iter().cloned());
        let mut notice = self.notice(case, NoticeAction::Failed, tags);
        notice.reasons.push(format!("over-reach: the registry also took {took}"));
        if lost.is_empty() {
            self.count("put_back", "done", 1);
            notice.reasons.push("it was put back".to_owned());
        } else {
            self.count("put_back", "failed", 1);
            error!(
                target: AUDIT,
                repository = %repository.name,
                digest = %case.image.digest,
                lost = lost.join("; "),
                "over-reach: could not put back; use the manifest logged before with `aws ecr put-image`"
            );
            notice.reasons.push(format!("could not put back: {}", lost.join("; ")));
        }
        notice.reasons.push("this worker untags nothing more until it is restarted".to_owned());
        self.tell(notice).await?;
        if !lost.is_empty() {
            return Err(Failure::NotPutBack(lost.join("; ")));
        }
        // What is still to be untagged is for the next process.
        if left.is_empty() { Ok(Outcome::Overreach) } else { Err(Failure::Stopped) }
    }

    /// Puts the image back under its quarantine tag, and kept tags that are absent. Says what is still lost.
    async fn put_back(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        beyond: &[AnsweredId],
    ) -> Vec<String> {
        let mut lost = Vec::new();
        if let Err(why) = self.put_tag(case, manifest, &case.plan.quarantine).await {
            lost.push(why);
        }
        for id in beyond {
            let Some(tag) = id.tag.as_deref().and_then(|tag| Tag::parse(tag).ok()) else {
                continue;
            };
            let result = match id.digest.as_deref().map(Digest::parse) {
                Some(Ok(other)) if other != manifest.digest => {
                    self.put_back_other(case, &other, &tag).await
                }
                _ if case.plan.kept.contains(&tag) => {
                    self.put_if_absent(case, manifest, &tag).await
                }
                _ => Ok(()),
            };
            if let Err(why) = result {
                lost.push(why);
            }
        }
        lost
    }

    /// A tag of another image went: it moved between the last look and a delete by tag alone.
    async fn put_back_other(
        &self,
        case: &Case<'_>,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<(), String> {
        let repository = case.repository();
        let manifest = self.ecr(case.job, || self.registry.manifest(repository, digest)).await;
        match manifest.map_err(|failure| format!("{tag}: {failure}"))? {
            Some(manifest) => self.put_if_absent(case, &manifest, tag).await,
            None => Err(format!("{tag}: image {digest} is gone")),
        }
    }

    async fn put_if_absent(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        tag: &Tag,
    ) -> Result<(), String> {
        let repository = case.repository();
        let now = self.ecr(case.job, || self.registry.resolve(repository, tag)).await;
        match now.map_err(|failure| format!("{tag}: {failure}"))? {
            Some(_) => Ok(()),
            None => self.put_tag(case, manifest, tag).await,
        }
    }

    async fn put_tag(&self, case: &Case<'_>, manifest: &Manifest, tag: &Tag) -> Result<(), String> {
        let repository = case.repository();
        match self.ecr(case.job, || self.registry.tag(repository, manifest, tag)).await {
            Ok(Tagging::Confirmed) => {
                info!(target: AUDIT, digest = %manifest.digest, %tag, "put back");
                Ok(())
            }
            Ok(Tagging::Taken(reason) | Tagging::RefusedForGood(reason)) => {
                Err(format!("{tag}: {reason}"))
            }
            Err(failure) => Err(format!("{tag}: {failure}")),
        }
    }
}

fn described(ids: &[AnsweredId]) -> String {
    let id = |id: &AnsweredId| match (&id.tag, &id.digest) {
        (Some(tag), Some(digest)) => format!("{tag} of {digest}"),
        (Some(tag), None) => tag.clone(),
        (None, Some(digest)) => format!("image {digest}"),
        (None, None) => "an id without tag or digest".to_owned(),
    };
    ids.iter().map(id).collect::<Vec<_>>().join(", ")
}
