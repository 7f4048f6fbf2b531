//! Gives back the tags of an image in quarantine, and holds an image that violates the policy, when
//! somebody who may do so asks for it.

mod settings;

pub(crate) use settings::{PrincipalId, RestoreSettings};
