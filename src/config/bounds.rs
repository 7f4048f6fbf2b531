//! Bounds that both the checks and the schema name.

/// The worker inspects the newest 50 images, and one of them may be the image that violates the
/// policy.
pub(super) const MAX_KEPT: usize = 49;
/// The largest number of tasks that can share the limits.
pub(super) const MAX_TASKS: usize = 1000;
/// The largest number of roles and users in one list of `restore`.
pub(super) const MAX_SENDERS: usize = 100;
