//! The kinds of notices that the team gets.

/// The subject of a notice: what tagwarden has done, or why it could not act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeAction {
    /// Tags were removed. The quarantine tag keeps the image.
    Quarantined,
    /// Tags were removed, and the image was deleted.
    Deleted,
    /// In audit mode: tags would have been removed.
    WouldUntag,
    /// The image violates the policy, and its tags could not be removed.
    Blocked,
    /// The image could not be judged.
    Unscanned,
    /// An error occurred that people have to look at.
    Failed,
    /// Somebody asked to give tags back or to change a hold, and it was done.
    Restored,
    /// Somebody asked to give tags back or to change a hold, and it was not done.
    Refused,
}

impl NoticeAction {
    /// All actions.
    pub const ALL: [Self; 8] = [
        Self::Quarantined,
        Self::Deleted,
        Self::WouldUntag,
        Self::Blocked,
        Self::Unscanned,
        Self::Failed,
        Self::Restored,
        Self::Refused,
    ];

    /// Returns the word that notices and the configuration use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Deleted => "deleted",
            Self::WouldUntag => "would_untag",
            Self::Blocked => "blocked",
            Self::Unscanned => "unscanned",
            Self::Failed => "failed",
            Self::Restored => "restored",
            Self::Refused => "refused",
        }
    }
}
