//! What the team is told.

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeAction {
    /// Tags are gone; the image is kept under its quarantine tag.
    Quarantined,
    /// Tags are gone, and the image with them.
    Deleted,
    /// Audit mode: these tags would be gone.
    WouldUntag,
    /// The image violates the policy and could not be acted on.
    Blocked,
    /// The image could not be judged.
    Unscanned,
    /// Something went wrong that people have to look at.
    Failed,
}

impl NoticeAction {
    /// Every action.
    pub const ALL: [Self; 6] = [
        Self::Quarantined,
        Self::Deleted,
        Self::WouldUntag,
        Self::Blocked,
        Self::Unscanned,
        Self::Failed,
    ];

    /// The word of notices.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Deleted => "deleted",
            Self::WouldUntag => "would_untag",
            Self::Blocked => "blocked",
            Self::Unscanned => "unscanned",
            Self::Failed => "failed",
        }
    }
}
