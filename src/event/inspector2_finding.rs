//! "Inspector2 Finding": enhanced scanning has found, changed or closed one finding (Inspector user
//! guide, "EventBridge event schema").
//!
//! This event is the only news about a vulnerability that became known after the first scan of an
//! image. EC2 instances, Lambda functions and code repositories use the same detail-type; their
//! findings are ignored. Closed and suppressed findings are ignored too, because they do not count.

use serde::Deserialize;

use super::envelope::{Envelope, EventPlace};
use super::{Claim, ImageEvent, Kind, Malformed, Parsed, digest, tags};
use crate::domain::findings::{Finding, NO_FIX, Package, Score, Severity, one_line};
use crate::domain::names::{Digest, RegistryId, Repository, RepositoryArn, Tag};

pub(super) const SOURCE: &str = "aws.inspector2";
pub(super) const DETAIL_TYPE: &str = "Inspector2 Finding";

const KIND: Kind = Kind::Inspector2Finding;

/// The fields that separate findings in container images from all others. The details of the others
/// may have any shape.
#[derive(Deserialize)]
#[serde(expecting = "the detail of a finding event")]
struct Form {
    resources: Option<Vec<Option<FormResource>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "a resource of a finding event")]
struct FormResource {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the detail of a finding event")]
struct FindingDetail {
    status: String,
    severity: Option<String>,
    title: Option<String>,
    aws_account_id: Option<String>,
    inspector_score: Option<f64>,
    fix_available: Option<String>,
    exploit_available: Option<String>,
    package_vulnerability_details: Option<Vulnerability>,
    resources: Option<Vec<Option<Resource>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the details of a package vulnerability")]
struct Vulnerability {
    vulnerability_id: Option<String>,
    source_url: Option<String>,
    vulnerable_packages: Option<Vec<Option<VulnerablePackage>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a vulnerable package")]
struct VulnerablePackage {
    name: Option<String>,
    version: Option<String>,
    fixed_in_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "a resource of a finding event")]
struct Resource {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the details of a resource")]
struct Details {
    aws_ecr_container_image: Option<ContainerImage>,
    /// The form that is the same for the images of every provider.
    image: Option<NeutralImage>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the details of a container image")]
struct ContainerImage {
    registry: Option<String>,
    repository_name: Option<String>,
    image_hash: Option<String>,
    image_tags: Option<Vec<Option<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the details of an image")]
struct NeutralImage {
    image_digest: Option<String>,
}

pub(super) fn parse(envelope: &Envelope<'_>, own: &RegistryId) -> Result<Parsed, Malformed> {
    let form: Form = envelope.detail()?;
    let mut resources = form.resources.iter().flatten().flatten();
    if !resources.any(|resource| is_image(resource.kind.as_deref(), resource.id.as_deref()))
        && !envelope.concerns_a_repository()
    {
        return envelope.ignored(KIND, "the finding is not in a container image");
    }
    let detail: FindingDetail = envelope.detail()?;
    let claim = match detail.status.as_str() {
        "ACTIVE" => Claim::Active(Box::new(detail.finding())),
        "SUPPRESSED" => return envelope.ignored(KIND, "the finding is suppressed"),
        "CLOSED" => return envelope.ignored(KIND, "the finding is closed"),
        // The status is new to us. ECR knows whether the finding counts.
        _ => Claim::Nothing,
    };
    let origin = envelope.origin()?;
    let image = detail.image(envelope, own)?;
    let FoundImage { repository, digest, tags } = image;
    Ok(ImageEvent { kind: KIND, origin, repository, digest, tags, claim }.into_parsed())
}

fn is_image(kind: Option<&str>, id: Option<&str>) -> bool {
    kind == Some("AWS_ECR_CONTAINER_IMAGE") || id.is_some_and(|id| RepositoryArn::parse(id).is_ok())
}

fn non_empty(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

impl FindingDetail {
    /// Returns the finding as the event describes it. Its dates are not read, because their format
    /// is not the same in events of different years.
    fn finding(&self) -> Finding {
        let text = |text: &Option<String>| non_empty(text.as_ref()).map(one_line);
        let vulnerability = self.package_vulnerability_details.as_ref();
        let id = vulnerability.and_then(|details| text(&details.vulnerability_id));
        let packages = vulnerability.and_then(|details| details.vulnerable_packages.as_ref());
        let all = packages.map_or(0, Vec::len);
        let packages = packages.into_iter().flatten().flatten().filter_map(|package| {
            Some(Package {
                name: text(&package.name)?,
                installed: text(&package.version),
                fixed: text(&package.fixed_in_version).filter(|version| version != NO_FIX),
            })
        });
        let packages: Vec<_> = packages.collect();
        let severity = self.severity.as_deref().and_then(Severity::from_word);
        Finding {
            severity: severity.unwrap_or(Severity::Undefined),
            id: id.or_else(|| text(&self.title)).unwrap_or_else(|| "unnamed".to_owned()),
            unnamed_package: packages.len() < all,
            packages,
            score: self.inspector_score.and_then(Score::new),
            link: vulnerability.and_then(|details| text(&details.source_url)),
            fixable: yes_or_no(self.fix_available.as_deref()),
            exploitable: yes_or_no(self.exploit_available.as_deref()),
            first_observed: None,
        }
    }

    /// Returns the one image that all resources, in the detail and in the envelope, name.
    fn image(self, envelope: &Envelope<'_>, own: &RegistryId) -> Result<FoundImage, Malformed> {
        let mut images = Vec::new();
        let account = non_empty(self.aws_account_id.as_ref());
        for resource in self.resources.into_iter().flatten().flatten() {
            if is_image(resource.kind.as_deref(), resource.id.as_deref()) {
                images = resource.image(account, envelope, own)?.joined(images);
            }
        }
        for arn in envelope.arns() {
            images = FoundImage::from(EventPlace::from(arn)).joined(images);
        }
        <[FoundImage; 1]>::try_from(images).map(|[image]| image).map_err(|images| {
            Malformed::new(format!("the finding names {} images; expected one", images.len()))
        })
    }
}

fn yes_or_no(word: Option<&str>) -> Option<bool> {
    match word? {
        "YES" | "PARTIAL" => Some(true),
        "NO" => Some(false),
        _ => None,
    }
}

impl Resource {
    /// Returns the image of this resource. Its ARN has precedence, because the account of the
    /// envelope can be that of a delegated administrator.
    fn image(
        self,
        account: Option<&str>,
        envelope: &Envelope<'_>,
        own: &RegistryId,
    ) -> Result<FoundImage, Malformed> {
        let details = self.details.unwrap_or_default();
        let image = details.aws_ecr_container_image.unwrap_or_default();
        let arn = non_empty(self.id.as_ref()).filter(|id| id.starts_with("arn:"));
        let place = match (arn, non_empty(image.repository_name.as_ref())) {
            (Some(arn), _) => envelope.place("a resource's id", arn, None, own)?,
            (None, Some(name)) => {
                let account = non_empty(image.registry.as_ref()).or(account);
                envelope.place("repositoryName", name, account, own)?
            }
            (None, None) => envelope
                .arns()
                .next()
                .map(EventPlace::from)
                .ok_or_else(|| Malformed::new("the finding names no repository"))?,
        };
        let neutral = details.image.unwrap_or_default();
        let known = digest("imageHash", image.image_hash, place.digest)?;
        Ok(FoundImage {
            repository: place.repository,
            digest: digest("imageDigest", neutral.image_digest, known)?,
            tags: tags("imageTags", image.image_tags)?,
        })
    }
}

/// An image as a resource names it.
struct FoundImage {
    repository: Repository,
    digest: Option<Digest>,
    tags: Vec<Tag>,
}

impl From<EventPlace> for FoundImage {
    fn from(place: EventPlace) -> Self {
        Self { repository: place.repository, digest: place.digest, tags: Vec::new() }
    }
}

impl FoundImage {
    /// Merges `self` into the same image among these, or adds it if it is another image.
    fn joined(self, mut images: Vec<Self>) -> Vec<Self> {
        let same = images.iter_mut().find(|image| {
            image.repository == self.repository
                && (image.digest == self.digest || image.digest.is_none() || self.digest.is_none())
        });
        match same {
            Some(image) => {
                image.digest = image.digest.take().or(self.digest);
                let mut new = self.tags;
                new.retain(|tag| !image.tags.contains(tag));
                image.tags.extend(new);
            }
            None => images.push(self),
        }
        images
    }
}
