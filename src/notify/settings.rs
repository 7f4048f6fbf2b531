//! The settings of notices.

use std::collections::BTreeSet;

use crate::domain::globs::Globs;
use crate::domain::names::Region;
use crate::domain::notice::NoticeAction;

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
    /// The actions whose notices it receives.
    pub actions: BTreeSet<NoticeAction>,
}

/// The settings of `notify.*`.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// The topics, at least one.
    pub topics: Vec<TopicSettings>,
}
