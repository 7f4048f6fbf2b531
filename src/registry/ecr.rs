//! The registry in Amazon ECR.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::operation::describe_image_scan_findings::DescribeImageScanFindingsOutput;
use aws_sdk_ecr::types::{
    EnhancedImageScanFinding, FindingSeverity, ImageDetail, ImageIdentifier, ImageScanFinding,
    ScanStatus,
};

use super::{Manifest, Registry, Tagging};
use crate::aws::{Aws, AwsError, Operation};
use crate::config::UntagBy;
use crate::domain::findings::{Finding, Findings, Scan, Severity, SeverityCounts};
use crate::domain::image::{Digest, Home, Repository, Tag};
use crate::domain::plan::Image;
use crate::domain::untag::{Answer, AnsweredFailure, AnsweredId, Untagged, reconcile};

/// Every form of manifest that ECR stores. The API reference names the first three; ECR answers indexes and
/// manifest lists only when they are accepted too.
const MEDIA_TYPES: [&str; 5] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Findings in one page, the most that ECR gives.
const PAGE: i32 = 1000;
/// Pages that are read before a registry that never ends them is given up on.
const MOST_PAGES: usize = 100;
/// Clients that are kept: one for each account and Region in use.
const MOST_CLIENTS: usize = 256;

/// Every registry that the policy reaches, each by a client for its account and Region.
#[derive(Debug)]
pub struct EcrRegistry {
    aws: Aws,
    own: Home,
    untag_by: UntagBy,
    clients: Mutex<HashMap<Home, Client>>,
}

impl EcrRegistry {
    /// Registries as seen from our own account.
    #[must_use]
    pub fn new(aws: Aws, own: Home, untag_by: UntagBy) -> Self {
        Self { aws, own, untag_by, clients: Mutex::default() }
    }

    async fn client(&self, repository: &Repository) -> Client {
        let home = Home { account: repository.account.clone(), region: repository.region.clone() };
        if let Some(client) = self.clients().get(&home) {
            return client.clone();
        }
        let client = Client::new(&self.aws.at(&home, &self.own).await);
        let mut clients = self.clients();
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        clients.entry(home).or_insert(client).clone()
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<Home, Client>> {
        // A map of clients is whole at every point where a panic could leave it.
        self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn describe(
        &self,
        repository: &Repository,
        id: ImageIdentifier,
    ) -> Result<Option<ImageDetail>, AwsError> {
        let operation = Operation::DescribeImages;
        let request = self
            .client(repository)
            .await
            .describe_images()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .image_ids(id);
        let Some(answer) = found(self.aws.call(operation, request.send()).await)? else {
            return Ok(None);
        };
        Ok(answer.image_details.unwrap_or_default().into_iter().next())
    }

    async fn delete(
        &self,
        repository: &Repository,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<Answer, AwsError> {
        let ids = tags.iter().map(|tag| {
            let id = ImageIdentifier::builder().image_tag(tag.as_str());
            match self.untag_by {
                UntagBy::TagAndDigest => id.image_digest(digest.as_str()).build(),
                UntagBy::Tag => id.build(),
            }
        });
        let request = self
            .client(repository)
            .await
            .batch_delete_image()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .set_image_ids(Some(ids.collect()));
        let answer = self.aws.call(Operation::BatchDeleteImage, request.send()).await?;
        let deleted = answer.image_ids.unwrap_or_default().into_iter();
        let failures = answer.failures.unwrap_or_default().into_iter();
        Ok(Answer {
            deleted: deleted
                .map(|id| AnsweredId { tag: id.image_tag, digest: id.image_digest })
                .collect(),
            failures: failures
                .map(|failure| AnsweredFailure {
                    tag: failure.image_id.and_then(|id| id.image_tag),
                    code: failure
                        .failure_code
                        .map_or_else(|| "no code".to_owned(), |code| code.as_str().to_owned()),
                    reason: failure.failure_reason.unwrap_or_default(),
                })
                .collect(),
        })
    }
}

impl Registry for EcrRegistry {
    async fn image(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Image>, AwsError> {
        let id = ImageIdentifier::builder().image_digest(digest.as_str()).build();
        let Some(detail) = self.describe(repository, id).await? else { return Ok(None) };
        if detail.image_digest() != Some(digest.as_str()) {
            return Err(AwsError::unexpected(
                Operation::DescribeImages,
                format!("asked for {digest}, answered {:?}", detail.image_digest()),
            ));
        }
        // A tag that ECR stores and we cannot write could not be untagged either.
        let tags = detail.image_tags.unwrap_or_default().into_iter().map(Tag::parse);
        let tags = tags
            .collect::<Result<_, _>>()
            .map_err(|error| AwsError::unexpected(Operation::DescribeImages, error.to_string()))?;
        Ok(Some(Image { digest: digest.clone(), tags }))
    }

    async fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Digest>, AwsError> {
        let id = ImageIdentifier::builder().image_tag(tag.as_str()).build();
        let Some(detail) = self.describe(repository, id).await? else { return Ok(None) };
        let digest = detail.image_digest.unwrap_or_default();
        Digest::parse(digest)
            .map(Some)
            .map_err(|error| AwsError::unexpected(Operation::DescribeImages, error.to_string()))
    }

    async fn scan(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Scan>, AwsError> {
        let operation = Operation::DescribeImageScanFindings;
        let request = self
            .client(repository)
            .await
            .describe_image_scan_findings()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .image_id(ImageIdentifier::builder().image_digest(digest.as_str()).build())
            .max_results(PAGE);
        let mut pages = Vec::new();
        let mut token = None;
        loop {
            let page = request.clone().set_next_token(token).send();
            let answer = match self.aws.call(operation, page).await {
                Err(error) if error.is("ScanNotFoundException") => {
                    return Ok(Some(Scan::Pending("not found".to_owned())));
                }
                answer => found(answer)?,
            };
            let Some(answer) = answer else { return Ok(None) };
            token = answer.next_token.clone().filter(|token| !token.is_empty());
            pages.push(answer);
            if token.is_none() {
                return Ok(Some(scan_of(pages)));
            }
            if pages.len() == MOST_PAGES {
                let problem = format!("more than {MOST_PAGES} pages of findings for {digest}");
                return Err(AwsError::unexpected(operation, problem));
            }
        }
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Manifest>, AwsError> {
        let operation = Operation::BatchGetImage;
        let request = self
            .client(repository)
            .await
            .batch_get_image()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .image_ids(ImageIdentifier::builder().image_digest(digest.as_str()).build())
            .set_accepted_media_types(Some(MEDIA_TYPES.map(str::to_owned).to_vec()));
        let Some(answer) = found(self.aws.call(operation, request.send()).await)? else {
            return Ok(None);
        };
        // One digest with several tags may be answered as several images, all with the same manifest.
        let image = answer.images.unwrap_or_default().into_iter().find(|image| {
            image.image_id().and_then(|id| id.image_digest()) == Some(digest.as_str())
        });
        if let Some(image) = image
            && let Some(text) = image.image_manifest
        {
            let media_type = image.image_manifest_media_type;
            return Ok(Some(Manifest { digest: digest.clone(), text, media_type }));
        }
        match answer.failures.unwrap_or_default().into_iter().next() {
            Some(failure) => {
                let code = failure.failure_code.map(|code| code.as_str().to_owned());
                let code = code.unwrap_or_default();
                if code == "ImageNotFound" {
                    return Ok(None);
                }
                let reason = failure.failure_reason.unwrap_or_default();
                Err(AwsError::of_entry(operation, &code, &reason, true))
            }
            None => {
                let problem = format!("the answer has no manifest of {digest}");
                Err(AwsError::unexpected(operation, problem))
            }
        }
    }

    async fn tag(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        tag: &Tag,
    ) -> Result<Tagging, AwsError> {
        let operation = Operation::PutImage;
        let request = self
            .client(repository)
            .await
            .put_image()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .image_manifest(&manifest.text)
            .set_image_manifest_media_type(manifest.media_type.clone())
            .image_digest(manifest.digest.as_str())
            .image_tag(tag.as_str());
        let error = match self.aws.call(operation, request.send()).await {
            Ok(answer) => {
                let id = answer.image.and_then(|image| image.image_id);
                let digest = id.and_then(|id| id.image_digest);
                if digest.as_deref() == Some(manifest.digest.as_str()) {
                    return Ok(Tagging::Confirmed);
                }
                let problem = format!("put {}, answered {digest:?}", manifest.digest);
                return Err(AwsError::unexpected(operation, problem));
            }
            Err(error) => error,
        };
        match error.code.as_deref() {
            // Of this very tag and digest by the API's description; emulators answer it for less.
            Some("ImageAlreadyExistsException" | "ImageTagAlreadyExistsException") => {
                match self.resolve(repository, tag).await? {
                    Some(digest) if digest == manifest.digest => Ok(Tagging::Confirmed),
                    Some(digest) => Ok(Tagging::RefusedForGood(format!(
                        "tag {tag} is taken by {digest} and cannot be moved"
                    ))),
                    None => Err(error),
                }
            }
            Some(
                "LimitExceededException"
                | "LayersNotFoundException"
                | "ReferencedImagesNotFoundException"
                | "ImageArchivedException",
            ) => Ok(Tagging::RefusedForGood(error.to_string())),
            _ => Err(error),
        }
    }

    async fn untag(
        &self,
        repository: &Repository,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<Untagged, AwsError> {
        let mut result = Untagged::default();
        let mut requested = tags.to_vec();
        if self.untag_by == UntagBy::Tag {
            let now = self.image(repository, digest).await?.map(|image| image.tags);
            let now = now.unwrap_or_default();
            let (still, moved) = requested.into_iter().partition(|tag| now.contains(tag));
            (requested, result.moved) = (still, moved);
        }
        if !requested.is_empty() {
            let answer = self.delete(repository, digest, &requested).await?;
            result.absorb(reconcile(digest, &requested, answer));
        }
        Ok(result)
    }
}

/// Takes "no such image" and "no such repository" out of the errors.
fn found<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if error.is("ImageNotFoundException") || error.is("RepositoryNotFoundException") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The scan that all pages together show. The first page has the summary of counts.
fn scan_of(pages: Vec<DescribeImageScanFindingsOutput>) -> Scan {
    let status = pages.first().and_then(|page| page.image_scan_status());
    let status = status.and_then(|status| status.status()).cloned();
    let word = status.as_ref().map_or("not given", ScanStatus::as_str).to_owned();
    let findings = || {
        let mut summary = SeverityCounts::default();
        let mut list = Vec::new();
        for (at, page) in pages.into_iter().enumerate() {
            let Some(findings) = page.image_scan_findings else { continue };
            if at == 0 {
                for (severity, count) in findings.finding_severity_counts.unwrap_or_default() {
                    summary.add(severity_of(&severity), u64::try_from(count).unwrap_or(0));
                }
            }
            list.extend(findings.findings.unwrap_or_default().into_iter().map(basic));
            list.extend(
                findings.enhanced_findings.unwrap_or_default().into_iter().filter_map(enhanced),
            );
        }
        list.sort();
        let listed = list.iter().map(|finding: &Finding| (finding.severity, 1)).collect();
        Findings { counts: summary.at_least(&listed), list }
    };
    match status {
        Some(ScanStatus::Complete) => Scan::Complete(findings()),
        Some(ScanStatus::Active) => Scan::Active(findings()),
        Some(ScanStatus::InProgress | ScanStatus::Pending) => Scan::Pending(word),
        _ => Scan::Unavailable(word),
    }
}

/// Texts of findings come from other people's packages and end in other people's mail: one short line each.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(256).collect()
}

fn severity_of(severity: &FindingSeverity) -> Severity {
    Severity::from_word(severity.as_str()).unwrap_or(Severity::Undefined)
}

/// Basic scanning keeps package and version among the attributes (ECR API reference, ImageScanFinding).
fn basic(finding: ImageScanFinding) -> Finding {
    let attribute = |key: &str| {
        let attributes = finding.attributes().iter();
        attributes.filter(|attribute| attribute.key() == key).find_map(|found| found.value())
    };
    Finding {
        severity: finding.severity().map_or(Severity::Undefined, severity_of),
        package: attribute("package_name").map(line),
        installed: attribute("package_version").map(line),
        fixed: None,
        id: line(finding.name().unwrap_or_default()),
    }
}

/// One finding of enhanced scanning; closed and suppressed ones do not count.
fn enhanced(finding: EnhancedImageScanFinding) -> Option<Finding> {
    if finding.status().is_some_and(|status| status != "ACTIVE") {
        return None;
    }
    let severity = finding.severity().and_then(Severity::from_word);
    let details = finding.package_vulnerability_details();
    let package = details.and_then(|details| details.vulnerable_packages().first());
    let id = details.and_then(|details| details.vulnerability_id()).or(finding.title());
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(line);
    Some(Finding {
        severity: severity.unwrap_or(Severity::Undefined),
        id: line(id.unwrap_or_default()),
        package: text(package.and_then(|package| package.name())),
        installed: text(package.and_then(|package| package.version())),
        fixed: text(package.and_then(|package| package.fixed_in_version())),
    })
}
