//! Reads what is in quarantine from the registry alone: `tagwarden list`, and the base of
//! `tagwarden restore` and `tagwarden explain`. Nothing in here changes anything.
//!
//! An image is in quarantine if it bears our mark and its records name tags that were removed, were
//! not closed since, and are absent from it. [`Reader`] finds marked images by DescribeImages, and
//! reads their records in bulk, so that the cost is pages and not images. [`QuarantinedImage`] is
//! what is kept of each; [`ListDocument`] shows them as text, as JSON and as CSV.
//!
//! The caller has no key, as a rule. Then nothing here is verified, and everything that is shown
//! says so: anybody who can push to a repository can write an artifact that looks like a record.

mod document;
mod image;
mod named;
mod reader;
mod repository;
mod text;

pub(crate) use self::document::ListDocument;
pub(crate) use self::image::{Facts, QuarantinedImage, RecordedImage, RemovedTag, clipped};
pub(crate) use self::named::{NotNamed, whole};
pub(crate) use self::reader::{Listing, NamingTag, Reader, ReaderParts};
pub(crate) use self::text::{command_name, list_text};
