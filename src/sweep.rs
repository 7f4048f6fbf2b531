//! Sweeps inspect every tagged image that the policy covers, whether or not there were events.
//!
//! A scheduled sweep ([`Coordinator`]) is a chain of messages on the worker's own queue, so that
//! any number of tasks share it and none leads. A step inspects images and sends messages. It
//! changes nothing in the registry except that it asks for scans: an image whose tags are to be
//! removed becomes a message of its own and is handled like any other event, with its own lease,
//! retries, limits and notices. A step that breaks off is done again and does no harm. When its
//! messages are sent the step is done, and copies of it end at any task that has taken it
//! (`steps_taken`). Results are gathered into one summary (`aggregate`).
//!
//! A sweep covers every account of `policy.accounts` in every Region of `policy.regions`; if those
//! are not set, the worker's own. A step out of scope touches nothing, whoever sent it. When a
//! sweep finds more than the limits of the hour allow, the rest waits for one hour and is then left
//! to the next sweep, so that work does not pile up.
//!
//! A plan from the command line ([`Planner`]) needs no queue and changes nothing. [`Applier`]
//! carries out a saved plan through the worker's own assessment.

mod aggregate;
mod applied;
mod applying;
mod coordinator;
mod inventory;
mod known;
mod listing;
mod plan_file;
mod planning;
mod rescan;
mod sending;
mod settings;
mod steps_taken;
mod summary;

pub(crate) use self::applied::Applied;
pub(crate) use self::applying::{Applier, ApplyParts};
pub(crate) use self::coordinator::{Coordinator, CoordinatorParts};
pub(crate) use self::inventory::{Inventory, InventoryEntry};
pub(crate) use self::listing::{Advance, Listed, OnAdvance, REGISTRIES_AT_ONCE, Selection, listed};
pub(crate) use self::plan_file::{DEFAULTS, Refusal};
pub use self::plan_file::{
    Document, Entry, ListedFinding, NoPlan, Place, PolicyNote, Removals, RepositoryCounts, SCHEMA,
    Totals, Unread, plan_page,
};
pub(crate) use self::planning::{NothingInspected, PlanParts, Planner};
pub(crate) use self::settings::SweepSettings;
