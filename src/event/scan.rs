//! The parts that the families for whole scans share.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::envelope::Envelope;
use super::{Claim, ImageEvent, Kind, Malformed, Parsed, digest, tags};
use crate::domain::findings::{Severity, SeverityCounts};
use crate::domain::names::RegistryId;
use crate::domain::policy::Reporting;

/// The `detail` of a scan event.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "the detail of a scan event")]
pub(super) struct ScanDetail {
    scan_status: String,
    repository_name: String,
    image_digest: Option<String>,
    image_tags: Option<Vec<Option<String>>>,
    finding_severity_counts: Option<Counts>,
}

impl ScanDetail {
    /// Returns the event of a family whose scans end with the status `complete` or FAILED.
    pub(super) fn into_event(
        self,
        kind: Kind,
        complete: &str,
        reporting: Reporting,
        envelope: &Envelope<'_>,
        own: &RegistryId,
    ) -> Result<Parsed, Malformed> {
        let claim = match self.scan_status.as_str() {
            "FAILED" => Claim::Failed,
            status if status == complete => Claim::Complete {
                counts: self.finding_severity_counts.and_then(|counts| counts.0),
                reporting,
            },
            // The status is new to us. ECR knows the result of the scan; if there is none yet,
            // another event follows.
            _ => Claim::Nothing,
        };
        let origin = envelope.origin()?;
        let place = envelope.place("repository-name", &self.repository_name, None, own)?;
        let event = ImageEvent {
            kind,
            origin,
            repository: place.repository,
            digest: digest("image-digest", self.image_digest, place.digest)?,
            tags: tags("image-tags", self.image_tags)?,
            claim,
        };
        Ok(event.into_parsed())
    }
}

/// Counts by severity as events write them. Any key can be missing. The sum that Inspector adds as
/// TOTAL is skipped. A null, a non-zero count of an unknown severity, or a severity that is named
/// twice makes the counts useless: they become `None`, and ECR is asked.
struct Counts(Option<SeverityCounts>);

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CountsVisitor)
    }
}

struct CountsVisitor;

impl<'de> Visitor<'de> for CountsVisitor {
    type Value = Counts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
        let mut counts = SeverityCounts::default();
        let mut is_sound = true;
        while let Some((word, count)) = map.next_entry::<String, Option<u64>>()? {
            match (Severity::from_word(&word.to_ascii_uppercase()), count) {
                _ if word == "TOTAL" => {}
                // Nothing says which of the two counts is right.
                (Some(severity), _) if counts.reported(severity).is_some() => is_sound = false,
                (Some(severity), Some(count)) => counts.add(severity, count),
                (None, Some(0)) => {}
                (None, Some(_)) | (_, None) => is_sound = false,
            }
        }
        Ok(Counts(is_sound.then_some(counts)))
    }
}
