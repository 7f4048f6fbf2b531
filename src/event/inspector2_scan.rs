//! "Inspector2 Scan": the first scan of enhanced scanning has ended (Inspector user guide,
//! "EventBridge event schema").
//!
//! EC2 instances and Lambda functions use the same detail-type; their scans are ignored.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::envelope::Envelope;
use super::scan::ScanDetail;
use super::{Kind, Malformed, Parsed};
use crate::domain::names::RegistryId;
use crate::domain::policy::Reporting;

pub(super) const SOURCE: &str = "aws.inspector2";
pub(super) const DETAIL_TYPE: &str = "Inspector2 Scan";

/// The field that only the form for container images has.
#[derive(Deserialize)]
struct Form {
    #[serde(rename = "repository-name")]
    repository_name: Option<IgnoredAny>,
}

pub(super) fn parse(envelope: &Envelope<'_>, own: &RegistryId) -> Result<Parsed, Malformed> {
    let kind = Kind::Inspector2Scan;
    let form: Form = envelope.detail()?;
    if form.repository_name.is_none() && !envelope.concerns_a_repository() {
        return envelope.ignored(kind, "the scan is not of a container image");
    }
    let detail: ScanDetail = envelope.detail()?;
    let reporting = Reporting::AbsentIsUnknown;
    detail.into_event(kind, "INITIAL_SCAN_COMPLETE", reporting, envelope, own)
}
