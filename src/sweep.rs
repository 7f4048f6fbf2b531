//! Sweeps: every tagged image that the policy covers is inspected, whatever events there were.
//!
//! A scheduled sweep ([`Coordinator`]) is a chain of messages on the worker's own queue, so that
//! any number of tasks share it and none leads. A step inspects and sends messages, and changes
//! nothing: an image whose tags are to be removed becomes a message of its own and is handled like
//! any other event, with its own lease, retries, limits and notices. A step that is broken off is
//! done again, and does no harm. Once its messages were sent it is done, whatever happens then: a
//! copy of it ends at the first task that has taken it ([`steps_taken`]). Results are gathered into
//! one summary ([`aggregate`]).
//!
//! A sweep from the command line ([`ManualSweep`]) needs no queue and acts through the worker's own
//! assessment.

mod aggregate;
mod coordinator;
mod inventory;
mod known;
mod manual;
mod plan_file;
mod rescan;
mod sending;
mod settings;
mod steps_taken;
mod summary;

pub use self::coordinator::{Coordinator, Shared};
pub use self::inventory::{Inventory, InventoryEntry, InventoryPage};
pub use self::manual::{Advance, ManualSweep, ManualSweepError, Parts, Scope};
pub use self::plan_file::{Document, NoPlan, Planned, SCHEMA};
pub use self::settings::SweepSettings;
