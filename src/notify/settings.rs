//! The settings of notices.

use std::collections::BTreeSet;

use crate::domain::findings::{Severity, SeverityCounts};
use crate::domain::globs::Globs;
use crate::domain::names::{Region, Repository};
use crate::domain::notice::NoticeAction;
use crate::domain::registries::Registries;

/// The form of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeFormat {
    /// Text for people, by e-mail.
    Text,
    /// The versioned JSON document, for programs.
    Json,
    /// The custom notification of Amazon Q Developer in chat applications.
    Chat,
}

/// One topic, and the notices that it receives.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// The topic's ARN.
    pub arn: String,
    /// The topic's Region, from its ARN.
    pub region: Region,
    /// The form of its notices.
    pub format: NoticeFormat,
    /// Whom its readers can ask.
    pub contact: Option<String>,
    /// The repositories whose notices it receives. If there are none, it receives those of all.
    pub repositories: Globs,
    /// The registries whose notices it receives.
    pub registries: Registries,
    /// The severities of which a finding must count if the notice is about a violation; `None`
    /// admits all.
    pub severities: Option<BTreeSet<Severity>>,
    /// The actions whose notices it receives.
    pub actions: BTreeSet<NoticeAction>,
}

impl TopicSettings {
    /// Returns whether it receives a notice of this action about an image of this repository.
    /// `violation` has the findings that count if they violate the policy. A notice without, such
    /// as about a failure, is for the topics of every severity.
    #[must_use]
    pub fn takes(
        &self,
        repository: &Repository,
        action: NoticeAction,
        violation: Option<&SeverityCounts>,
    ) -> bool {
        let is_severe = |of: &BTreeSet<Severity>| {
            violation.is_none_or(|counted| of.iter().any(|one| counted.of(*one) > 0))
        };
        self.repositories.admit(repository.name.as_str())
            && self.registries.admit(repository)
            && self.actions.contains(&action)
            && self.severities.as_ref().is_none_or(is_severe)
    }

    /// Returns whether it receives every notice.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.repositories.is_empty()
            && self.registries.are_all()
            && self.severities.is_none()
            && NoticeAction::ALL.iter().all(|action| self.actions.contains(action))
    }
}

/// The settings of `notify.*`.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// The topics, at least one.
    pub topics: Vec<TopicSettings>,
}
