//! Everything that changes an image: marking, recording, removing tags, deleting, putting back.
//!
//! The order of an act is: mark, record, read the holds, remove tags, notify, and at last delete if
//! the policy says so. The mark keeps the image when its other tags are removed, and shows that the
//! act began (invariant 4). The record names the tags before they are removed (invariant 18). When
//! the process dies between any two steps, the message comes again and the image shows how far the
//! act had come: with tags left the pass is repeated, and with the mark and no tags left the team
//! is notified once more ([`Enforcer::repeat`]).

mod actions;
mod enforcer;
mod limits;
mod mark;
mod notices;
mod overreach;
mod part;
mod quota;
mod recording;
mod removal;
mod target;

pub(crate) use self::actions::declare;
pub(crate) use self::enforcer::{Enforcer, EnforcerParts};
pub(crate) use self::limits::LimitSettings;
pub(crate) use self::notices::blank_notice;
pub(crate) use self::recording::write_record;
pub(crate) use self::target::Target;
