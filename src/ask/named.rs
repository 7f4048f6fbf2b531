//! Finds the image that a person names, also by a tag that was removed from it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::request::{Chosen, Standing, Wish};
use crate::aws::AwsError;
use crate::domain::image::StorageStatus;
use crate::domain::image_reference::{ImageReference, TagOrDigest};
use crate::domain::names::{Digest, RegistryId, Repository, Tag};
use crate::quarantined::{NamingTag, Reader, RecordedImage};
use crate::registry::Registry;

/// The images that an error names.
const LISTED: usize = 10;

/// Why an image that a person names is not chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotChosen {
    /// The name does not say which image is meant, or nothing can be done about it.
    #[error("{0}")]
    BadInput(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] AwsError),
}

/// Finds images by their names.
#[derive(Debug)]
pub(crate) struct Finder<'a, R> {
    /// Reads the records.
    pub reader: &'a Reader<R>,
    /// The registry.
    pub registry: &'a R,
    /// What is asked for.
    pub wish: &'a Wish,
    /// The only tags to give back. If there are none, all that were removed.
    pub only: &'a BTreeSet<Tag>,
    /// The time of day.
    pub now: SystemTime,
}

impl<R: Registry> Finder<'_, R> {
    /// Returns the image that is named.
    ///
    /// # Errors
    /// [`NotChosen`] says why there is none.
    pub(crate) async fn find(&self, named: &ImageReference) -> Result<Chosen, NotChosen> {
        let RegistryId { account, region } =
            named.registry.as_ref().unwrap_or(self.reader.own()).clone();
        let repository = Repository { account, region, name: named.repository.clone() };
        match &named.image {
            TagOrDigest::Digest(digest) => {
                let image = self.reader.image(&repository, digest).await?;
                let image = image.ok_or_else(|| {
                    let name = &repository.name;
                    NotChosen::BadInput(format!(
                        "{name}@{digest}: there is no such image in {} {}; `tagwarden list` shows \
                         what is in quarantine there",
                        repository.account, repository.region
                    ))
                })?;
                self.chosen(&image, None)
            }
            TagOrDigest::Tag(tag) => self.by_tag(&repository, tag).await,
        }
    }

    async fn by_tag(&self, repository: &Repository, tag: &Tag) -> Result<Chosen, NotChosen> {
        let name = format!("{}:{tag}", repository.name);
        let naming = match tag.as_str().starts_with(MARK) {
            // It is on the image now, and was never removed.
            true => NamingTag::default(),
            false => self.reader.naming(repository, tag).await?,
        };
        let is_open =
            |image: &&RecordedImage| image.removed_tags().iter().any(|removed| removed.tag == *tag);
        let open: Vec<_> = naming.images.iter().filter(is_open).collect();
        match open.as_slice() {
            [] => {}
            [image] if naming.more == 0 => return self.chosen(image, Some(tag)),
            images => return Err(NotChosen::BadInput(several(&name, tag, images, naming.more))),
        }
        if let Some(digest) = self.registry.resolve(repository, tag).await?
            && let Some(image) = self.reader.image(repository, &digest).await?
        {
            return self.chosen(&image, Some(tag));
        }
        match (naming.images.first(), naming.without_records.as_slice()) {
            (Some(image), _) => self.chosen(image, Some(tag)),
            (None, []) if naming.unread > 0 => Err(NotChosen::BadInput(format!(
                "{name}: no record that can be read names this tag; {} images in quarantine could \
                 not be read; run it again, or name the image by its digest, which the notice has",
                naming.unread
            ))),
            (None, []) => Err(NotChosen::BadInput(format!(
                "{name}: no image in {} {} has this tag, and no record says that it was removed \
                 from one; is it the right account and Region? `tagwarden list` shows what is in \
                 quarantine there",
                repository.account, repository.region
            ))),
            (None, unrecorded) => Err(NotChosen::BadInput(format!(
                "{name}: no record says from which image this tag was removed; it may be one of \
                 those that were quarantined before there were records; the notice has the digest, \
                 and then name it by that: {}",
                listed(&repository.name.to_string(), unrecorded.iter())
            ))),
        }
    }

    /// Returns how an image is chosen that was named, by `tag` if it was named by one.
    fn chosen(&self, image: &RecordedImage, tag: Option<&Tag>) -> Result<Chosen, NotChosen> {
        let name = format!("{}@{}", image.repository.name, image.image.digest);
        let quarantined = image.quarantined(self.now, self.reader.max_hold());
        let only = self.only;
        let mut chosen = match &quarantined {
            Some(quarantined) => {
                let keep = |tag: &Tag| only.is_empty() || only.contains(tag);
                Chosen::of(quarantined, |removed| keep(&removed.tag))
            }
            None => Self::bare(image),
        };
        if let Some(unknown) = only.iter().find(|tag| !image.names(tag)) {
            return Err(NotChosen::BadInput(never_removed(image, &name, unknown)));
        }
        match self.wish {
            Wish::Withdraw => chosen.standing = self.hold(image),
            // A hold may be put on an image whose tags are all there.
            Wish::Hold { .. } if chosen.standing == Standing::Closed => {
                chosen.standing = Standing::Askable;
            }
            Wish::GiveBack if quarantined.is_none() && image.history.quarantines().is_empty() => {
                let name = tag.map_or(name, |tag| format!("{}:{tag}", image.repository.name));
                return Err(NotChosen::BadInput(format!(
                    "{name} is not in quarantine: no tag of it was removed, so there is nothing to \
                     give back; `tagwarden explain {name}` judges it, and --until holds it"
                )));
            }
            Wish::GiveBack | Wish::Hold { .. } => {}
        }
        Ok(chosen)
    }

    /// Returns an image that misses none of its tags.
    fn bare(image: &RecordedImage) -> Chosen {
        let is_active = image.image.storage == StorageStatus::Active;
        Chosen {
            repository: image.repository.clone(),
            digest: image.image.digest.clone(),
            tags: BTreeSet::new(),
            is_narrowed: false,
            since: None,
            rule: None,
            worst: None,
            standing: if is_active { Standing::Closed } else { Standing::Archived },
        }
    }

    /// Returns whether the image has a hold that can be ended. How long a hold may be is the
    /// worker's setting, which this machine may not know.
    fn hold(&self, image: &RecordedImage) -> Standing {
        let history = &image.history;
        let is_held = history
            .holds()
            .iter()
            .map(|noted| &noted.record)
            .any(|hold| hold.until > self.now && !history.is_withdrawn(&hold.request));
        match is_held {
            true if image.is_cut => Standing::TooManyArtifacts,
            true => Standing::Askable,
            false => Standing::NotHeld,
        }
    }
}

/// The beginning of our marks.
const MARK: &str = "quarantine-";

fn several(name: &str, tag: &Tag, images: &[&RecordedImage], more: usize) -> String {
    let images = images.iter().take(LISTED).map(|image| {
        let at = image.removed_at(tag).map(humantime::format_rfc3339_seconds);
        let at = at.map(|at| format!(" (removed {at})")).unwrap_or_default();
        format!("{}@{}{at}", image.repository.name, image.image.digest)
    });
    let images: Vec<_> = images.collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{name} was removed from several images; name one of them: {}{more}", images.join(", "))
}

fn never_removed(image: &RecordedImage, name: &str, tag: &Tag) -> String {
    let removed: Vec<_> =
        image.removed_tags().iter().take(LISTED).map(|one| one.tag.to_string()).collect();
    let removed = if removed.is_empty() { "none".to_owned() } else { removed.join(", ") };
    format!(
        "--tag: no record says that {tag} was removed from {name}; choose of those that are \
         missing now: {removed}"
    )
}

fn listed<'a>(repository: &str, digests: impl ExactSizeIterator<Item = &'a Digest>) -> String {
    let more = digests.len().saturating_sub(LISTED);
    let named: Vec<_> =
        digests.take(LISTED).map(|digest| format!("{repository}@{digest}")).collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}
