//! Images: pushed, tagged, archived and deleted, as others would.

use serde_json::Value;

use super::misuse;
use crate::ecr::{ImageStatus, NewImage, RepoKey};
use crate::ids::sha256;
use crate::manifest;
use crate::sim::Sim;
use crate::world::World;

impl Sim {
    /// Pushes the image that [`manifest::image`] makes of some content, under tags (or none); its digest. A tag on
    /// another digest moves, whatever the repository's mutability.
    #[track_caller]
    pub fn push_image(&self, repository: &RepoKey, tags: &[&str], content: &str) -> String {
        self.push_manifest(repository, tags, &manifest::image(content))
    }

    /// Pushes an image index of children, each a digest and a platform such as `linux/amd64`; its digest.
    #[track_caller]
    pub fn push_index(
        &self,
        repository: &RepoKey,
        tags: &[&str],
        children: &[(&str, &str)],
    ) -> String {
        self.push_manifest(repository, tags, &manifest::index(children))
    }

    /// Pushes a manifest with a `mediaType`, byte for byte; its digest.
    ///
    /// # Panics
    ///
    /// Where there is no such repository.
    #[track_caller]
    pub fn push_manifest(&self, repository: &RepoKey, tags: &[&str], manifest: &str) -> String {
        self.with_repository(repository, |_| ());
        let document: Value = serde_json::from_str(manifest).unwrap_or_default();
        let Some(media_type) = document.get("mediaType").and_then(Value::as_str) else {
            misuse("a manifest is a JSON object with a mediaType");
        };
        let store = |world: &mut World, tag: Option<&str>| {
            let new = NewImage {
                manifest: manifest.to_owned(),
                media_type: media_type.to_owned(),
                tag: tag.map(str::to_owned),
            };
            world.store_image(repository, new);
        };
        self.change(|world| {
            if tags.is_empty() {
                store(world, None);
            }
            tags.iter().for_each(|tag| store(world, Some(tag)));
        });
        sha256(manifest.as_bytes())
    }

    /// Pushes an artifact without a tag that is attached to an image, as [`manifest::referrer`] makes it; its digest.
    /// Anybody who may push can attach whatever they like. What it needs of blobs is there from then on.
    ///
    /// # Panics
    ///
    /// Where there is no such repository, or no such image.
    #[track_caller]
    pub fn push_referrer(
        &self,
        repository: &RepoKey,
        subject: &str,
        artifact_type: &str,
        annotations: &[(&str, &str)],
    ) -> String {
        let found = self.read(|world| {
            let image = world.repositories.get(repository)?.image(subject)?;
            Some((image.media_type.clone(), image.manifest.len()))
        });
        let Some((media_type, size)) = found else {
            misuse(format_args!("no image {subject} in {repository}"))
        };
        let artifact = manifest::referrer((subject, &media_type, size), artifact_type, annotations);
        self.push_manifest(repository, &[], &artifact)
    }

    /// Pushes an image under the digest of another, whose manifest nobody here has: an image that an event from elsewhere
    /// names. A push of the same bytes means that image from then on, in every repository.
    ///
    /// # Panics
    ///
    /// Where there is no such repository.
    #[track_caller]
    pub fn push_image_as(&self, repository: &RepoKey, tags: &[&str], digest: &str) {
        let manifest = manifest::image(&format!("stands for {digest}"));
        let own = sha256(manifest.as_bytes());
        self.change(|world| world.named_digests.insert(own, digest.to_owned()));
        self.push_manifest(repository, tags, &manifest);
    }

    /// Pushes many images at once, each a tag and some content for [`manifest::image`]; their digests, in order. Each
    /// push sends its event, as one by one.
    ///
    /// # Panics
    ///
    /// Where there is no such repository.
    #[track_caller]
    pub fn push_images(
        &self,
        repository: &RepoKey,
        images: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Vec<String> {
        self.with_repository(repository, |_| ());
        let new = images.into_iter().map(|(tag, content)| NewImage {
            manifest: manifest::image(content.as_ref()),
            media_type: manifest::OCI_IMAGE.to_owned(),
            tag: Some(tag.as_ref().to_owned()),
        });
        let new: Vec<_> = new.collect();
        self.change(|world| new.into_iter().map(|new| world.store_image(repository, new)).collect())
    }

    /// Moves a tag to an image, or puts it there, as a push by somebody else would.
    ///
    /// # Panics
    ///
    /// Where there is no such image.
    #[track_caller]
    pub fn tag_image(&self, repository: &RepoKey, tag: &str, digest: &str) {
        let manifest = self.read(|world| {
            let image = world.repositories.get(repository)?.image(digest)?;
            Some(image.manifest.clone())
        });
        match manifest {
            Some(manifest) => drop(self.push_manifest(repository, &[tag], &manifest)),
            None => misuse(format_args!("no image {digest} in {repository}")),
        }
    }

    /// Takes a tag off, as somebody else would: with its last tag the image goes.
    pub fn untag_image(&self, repository: &RepoKey, tag: &str) {
        self.change(|world| {
            let Some(found) = world.repositories.get_mut(repository) else {
                return;
            };
            let Some(digest) = found.untag(tag) else {
                return;
            };
            if found.tags_of(&digest).is_empty() {
                world.remove_image(repository, &digest);
            }
            world.emit_delete(repository, &digest, Some(tag));
        });
    }

    /// Deletes an image with all its tags, as somebody else would.
    pub fn delete_image(&self, repository: &RepoKey, digest: &str) {
        self.change(|world| {
            let found = world.repositories.get(repository);
            if found.is_none_or(|found| found.image(digest).is_none()) {
                return;
            }
            let tags = world.remove_image(repository, digest);
            if tags.is_empty() {
                world.emit_delete(repository, digest, None);
            }
            tags.iter().for_each(|tag| world.emit_delete(repository, digest, Some(tag)));
        });
    }

    /// Moves an image to the archive: it can be deleted or activated, and nothing else.
    ///
    /// # Panics
    ///
    /// Where there is no such image.
    #[track_caller]
    pub fn archive_image(&self, repository: &RepoKey, digest: &str) {
        self.store_away(repository, digest, ImageStatus::Archived, true);
    }

    /// Brings an image back from the archive.
    ///
    /// # Panics
    ///
    /// Where there is no such image.
    #[track_caller]
    pub fn activate_image(&self, repository: &RepoKey, digest: &str) {
        self.store_away(repository, digest, ImageStatus::Active, true);
    }

    /// Sets the status of an image, `ACTIVE`, `ARCHIVED` or `ACTIVATING`, without an event.
    ///
    /// # Panics
    ///
    /// Where there is no such image or no such status.
    #[track_caller]
    pub fn set_image_status(&self, repository: &RepoKey, digest: &str, status: &str) {
        match ImageStatus::named(status) {
            Some(status) => self.store_away(repository, digest, status, false),
            None => misuse(format_args!("no image status {status}")),
        }
    }

    #[track_caller]
    fn store_away(&self, repository: &RepoKey, digest: &str, status: ImageStatus, tell: bool) {
        let done = self.change(|world| {
            let now = world.now;
            let image = world.repositories.get_mut(repository)?.image_mut(digest)?;
            match status {
                ImageStatus::Archived => image.archived_at = Some(now),
                ImageStatus::Active if !image.is_active() => image.activated_at = Some(now),
                ImageStatus::Active | ImageStatus::Activating => {}
            }
            image.status = status;
            if tell {
                world.emit_storage_class(repository, digest);
            }
            Some(())
        });
        if done.is_none() {
            misuse(format_args!("no image {digest} in {repository}"));
        }
    }
}
