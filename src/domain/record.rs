//! Records: what tagwarden writes on an image, so that the registry itself remembers.
//!
//! A record is an OCI artifact whose `subject` is the image that it is about. It is stored in the
//! image's repository without a tag, and `ListImageReferrers` finds it (OCI image specification,
//! "Image manifest", `subject`). Its facts are annotations. The kinds:
//!
//! - [`Quarantined`] is written before tags are removed and names every one of them
//!   (invariant 18).
//! - [`Closing`] says what became of removed tags: a restore gave them back, or they had moved.
//! - [`Hold`] promises to leave an image alone until a time.
//! - [`Withdrawal`] ends a hold early.
//! - [`Notification`] says which outcomes of a request the team knows, because whether a notice was
//!   sent has to be known by the task that looks at the image once more.
//!
//! Records are only ever added. [`History`] reads the records of one image together: which tags are
//! open, which hold is in force, which requests were answered. No clock decides the order. A
//! closing names the records that it closes, and a record that is written after closings counts
//! them, so that its bytes differ from those of the record that they closed.
//!
//! Anybody who can push to the repository can write an artifact that looks like a record.
//! [`RestoreKeys`] sign records and tell ours from others.

mod annotations;
mod facts;
mod history;
mod id;
mod keys;
mod known;
mod manifest;

pub use annotations::InvalidRecord;
pub use facts::{
    Closing, Hold, LONGEST_NAME, LONGEST_REASON, MAX_CLOSED, MAX_FINDINGS, MAX_REASONS, MAX_TAGS,
    Notification, Quarantined, Record, RecordKind, RecordedFinding, Refusal, Withdrawal,
    says_something,
};
pub use history::{Artifact, History, Noted, OpenTag, Trust, Unverified};
pub use id::record_id;
pub use keys::{InvalidKeys, RestoreKeys};
pub use known::{HoldInForce, KnownRecords};
pub use manifest::{Attached, RecordManifest, SubjectDescriptor, read_manifest};

/// The artifact type of every record.
pub const ARTIFACT_TYPE: &str = "application/vnd.tagwarden.record.v1+json";
/// The media type of a record's manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the blob that stands for no content (OCI image specification, "Guidance for an
/// empty descriptor").
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The blob that stands for no content.
pub const EMPTY_BLOB: &str = "{}";
/// The digest of [`EMPTY_BLOB`].
pub const EMPTY_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

#[cfg(test)]
mod tests;
