//! Writes records on images (invariant 18).

use tracing::info;

use crate::domain::record::{MANIFEST_TYPE, Record, RecordManifest, SubjectDescriptor};
use crate::inspect::{EcrCalls, RecordStore, Request};
use crate::outcome::Failure;
use crate::registry::{Manifest, Recording, Registry};
use crate::telemetry::logs::AUDIT;

/// Writes a record on the image with this manifest. Writing the same record again is harmless.
///
/// # Errors
/// [`Failure`] if ECR cannot be asked or refuses. If the repository is full, that is no failure but
/// [`Recording::Full`].
pub(crate) async fn write_record<R: Registry>(
    ecr: &EcrCalls<R>,
    store: &RecordStore<R>,
    request: &Request,
    image: &Manifest,
    record: &Record,
) -> Result<Recording, Failure> {
    let repository = &request.repository;
    let subject = SubjectDescriptor {
        digest: image.digest.clone(),
        media_type: image.media_type.clone().unwrap_or_else(|| MANIFEST_TYPE.to_owned()),
        size: image.text.len(),
    };
    let manifest = RecordManifest::new(record, repository, &subject, store.keys());
    let put = |registry| R::record(registry, repository, &manifest);
    let recording = ecr.call(request, put).await?;
    if recording == Recording::Confirmed {
        info!(
            target: AUDIT,
            repository = %repository.name,
            digest = %image.digest,
            record = %manifest.digest,
            kind = <&str>::from(record.kind()),
            "recorded"
        );
    }
    Ok(recording)
}
