//! "ECR Image Scan": basic scanning has ended (ECR user guide, "Amazon ECR events and
//! EventBridge").

use super::envelope::Envelope;
use super::scan::ScanDetail;
use super::{Kind, Malformed, Parsed};
use crate::domain::names::RegistryId;
use crate::domain::policy::Reporting;

pub(super) const SOURCE: &str = "aws.ecr";
pub(super) const DETAIL_TYPE: &str = "ECR Image Scan";

pub(super) fn parse(envelope: &Envelope<'_>, own: &RegistryId) -> Result<Parsed, Malformed> {
    let detail: ScanDetail = envelope.detail()?;
    detail.into_event(Kind::EcrImageScan, "COMPLETE", Reporting::AbsentIsZero, envelope, own)
}
