//! Everything that changes an image: marking, removing tags, deleting, putting back.
//!
//! The order of an act is: mark, remove tags, notify, and at last delete if the policy says so. The
//! mark keeps the image when its other tags are removed, and is the durable record that we began
//! (invariant 4). A crash between any two steps leaves a message that comes again and an image that
//! shows how far we came: with tags left the pass is repeated, and with the mark and no tags left
//! the team is notified once more ([`Enforcer::repeat`]).

mod actions;
mod enforcer;
mod limits;
mod mark;
mod notices;
mod overreach;
mod quota;
mod removal;
mod target;

pub use self::actions::ImageAction;
pub use self::enforcer::{Enforcer, Shared};
pub use self::limits::LimitSettings;
pub use self::notices::blank_notice;
pub use self::target::Target;
