//! Reads what is in quarantine in many repositories, in one of them, or of one image.
//!
//! Accounts and Regions are read side by side, like those of a plan, because each has its own quota
//! of calls. In each, the calls keep to `sweep.calls_per_second`.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};

use super::image::{QuarantinedImage, RecordedImage};
use super::repository::{Found, Paces, RepositoryReader, Stop};
use crate::aws::AwsError;
use crate::clock::Clock;
use crate::domain::globs::Globs;
use crate::domain::names::{Digest, RegistryId, Repository, Tag};
use crate::domain::policy::PolicyVersion;
use crate::domain::record::RestoreKeys;
use crate::inspect::EcrCalls;
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::sweep::{Advance, Inventory, Listed, OnAdvance, REGISTRIES_AT_ONCE, Selection, listed};

/// The repositories of one account and Region that are read at the same time.
const REPOSITORIES_AT_ONCE: usize = 4;
/// The most images whose records name a tag that are kept with all their records.
const MAX_NAMING: usize = 5;

/// The parts that read what is in quarantine.
#[derive(Debug)]
pub(crate) struct ReaderParts<R> {
    /// Lists the repositories that the policy covers.
    pub inventory: Inventory<R>,
    /// The registry.
    pub ecr: Arc<EcrCalls<R>>,
    /// The policy, which says which repositories are covered.
    pub policy: Arc<PolicyVersion>,
    /// The caller's account and Region.
    pub own: RegistryId,
    /// The keys that verify records. The caller has none, as a rule.
    pub keys: Option<RestoreKeys>,
    /// The longest that an image may be held.
    pub max_hold: Duration,
    /// The pace of the calls of each API, account and Region.
    pub calls_per_second: u32,
    /// The time of day.
    pub clock: Clock,
    /// Stops the work at a signal.
    pub shutdown: Shutdown,
}

/// Reads what is in quarantine.
#[derive(Debug)]
pub(crate) struct Reader<R>(ReaderParts<R>);

/// What is in quarantine in many repositories.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Every account and Region that was read.
    pub registries: Vec<RegistryId>,
    /// The number of repositories that were read.
    pub repositories: u64,
    /// The images in quarantine, and if all are selected also those whose tags were given back: by
    /// account, Region and repository, and then the newest in quarantine first.
    pub images: Vec<QuarantinedImage>,
    /// The number of images with our mark, without records, and with tags. Whether any tag of
    /// theirs was removed is not known.
    pub unclear: u64,
    /// The globs of the selection that match no repository of the policy, if all could be listed.
    pub unmatched: Vec<String>,
    /// The names of all repositories of the policy, if there are such globs.
    pub covered: BTreeSet<String>,
    /// What could not be read.
    pub failed: Vec<Unreadable>,
    /// Whether the work was ended by a signal.
    pub is_interrupted: bool,
}

/// A registry, a repository or an image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The account and Region.
    pub registry_id: RegistryId,
    /// The repository. `None` means that the repositories of the registry cannot be listed.
    pub repository: Option<Repository>,
    /// The image. `None` means that the rest of the repository was not read.
    pub digest: Option<Digest>,
    /// The reason.
    pub problem: String,
}

/// The images of a repository whose records name a tag.
#[derive(Debug, Default)]
pub(crate) struct NamingTag {
    /// The images, the newest record first, at most five.
    pub images: Vec<RecordedImage>,
    /// The number of further images.
    pub more: usize,
    /// The images with nothing but our mark, and without records, the newest push first. The tag
    /// may have been on any of them.
    pub without_records: Vec<Digest>,
    /// The number of marked images whose records cannot be read.
    pub unread: u64,
}

#[derive(Debug)]
struct ReadRepository {
    images: Vec<QuarantinedImage>,
    unclear: u64,
    failed: Vec<Unreadable>,
    is_interrupted: bool,
}

impl<R: Registry> Reader<R> {
    #[must_use]
    pub(crate) fn new(parts: ReaderParts<R>) -> Self {
        Self(parts)
    }

    /// Returns the caller's account and Region.
    #[must_use]
    pub(crate) fn own(&self) -> &RegistryId {
        &self.0.own
    }

    /// Returns the longest that an image may be held.
    #[must_use]
    pub(crate) fn max_hold(&self) -> Duration {
        self.0.max_hold
    }

    /// Returns the repositories of a registry that the policy covers, by name.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn covered(
        &self,
        registry_id: &RegistryId,
    ) -> Result<Vec<Repository>, AwsError> {
        self.0.inventory.covered(&self.0.policy, registry_id).await
    }

    /// Reads the selected repositories of the policy, or as many as there is time for until the
    /// process is told to stop.
    ///
    /// # Errors
    /// A call of the caller's own registry that would fail everywhere.
    pub(crate) async fn list(
        &self,
        selection: &Selection,
        on: OnAdvance<'_>,
    ) -> Result<Listing, AwsError> {
        let ReaderParts { inventory, policy, own, .. } = &self.0;
        let all = selection.all;
        let mut listing = Listing::default();
        let (mut registries, mut others) = (Vec::new(), Vec::new());
        for Listed { registry_id, repositories, left_out } in
            listed(inventory, policy, own, selection, on).await
        {
            match repositories {
                Ok(repositories) => registries.push(repositories),
                Err(error) if registry_id == *own && error.is_hopeless() => return Err(error),
                Err(error) => listing.failed.push(Unreadable {
                    registry_id: registry_id.clone(),
                    repository: None,
                    digest: None,
                    problem: format!("{error}{}", error.advice()),
                }),
            }
            listing.registries.push(registry_id);
            others.extend(left_out);
        }
        if listing.failed.is_empty() {
            let names: Vec<_> = registries.iter().flatten().map(|one| one.name.as_str()).collect();
            listing.unmatched = unmatched(&selection.repositories, &names);
        }
        if !listing.unmatched.is_empty() {
            let all = registries.iter().flatten().chain(&others);
            listing.covered = all.map(|one| one.name.to_string()).collect();
        }
        let registries = registries.into_iter().map(|repositories| {
            let paces = Arc::new(Paces::new(self.0.calls_per_second));
            let reads = repositories.into_iter().map(move |repository| {
                let paces = Arc::clone(&paces);
                async move { self.read(&repository, &paces, all, on).await }
            });
            stream::iter(reads).buffer_unordered(REPOSITORIES_AT_ONCE).boxed()
        });
        let mut read = stream::iter(registries).flatten_unordered(Some(REGISTRIES_AT_ONCE)).boxed();
        while let Some(ReadRepository { images, unclear, failed, is_interrupted }) =
            read.next().await
        {
            listing.repositories += 1;
            listing.images.extend(images);
            listing.unclear += unclear;
            listing.failed.extend(failed);
            listing.is_interrupted |= is_interrupted;
            on(Advance::Repository);
        }
        drop(read);
        listing.sort();
        Ok(listing)
    }

    /// Reads an image and its records, whether or not it is in quarantine. Returns `None` if there
    /// is no such image.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn image(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<RecordedImage>, AwsError> {
        let paces = Paces::new(self.0.calls_per_second);
        match self.of(repository, &paces).image(digest).await {
            Ok(image) => Ok(image),
            Err(Stop::Signal) => Ok(None),
            Err(Stop::Call(error)) => Err(error),
        }
    }

    /// Returns the image to which a tag points now.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Digest>, AwsError> {
        self.0.ecr.unguarded().resolve(repository, tag).await
    }

    /// Lists the images of a repository that bear our mark. A repository that does not exist has
    /// none.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn marked(&self, repository: &Repository) -> Result<Vec<Digest>, AwsError> {
        let paces = Paces::new(self.0.calls_per_second);
        match self.of(repository, &paces).marked(&mut |_| {}).await {
            Ok(marked) => Ok(marked.into_iter().map(|image| image.digest).collect()),
            Err(Stop::Signal) => Ok(Vec::new()),
            Err(Stop::Call(error)) => Err(error),
        }
    }

    /// Finds the images of a repository whose records name a tag, whatever became of it since.
    ///
    /// # Errors
    /// The call that failed.
    pub(crate) async fn naming(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<NamingTag, AwsError> {
        let paces = Paces::new(self.0.calls_per_second);
        let (mut naming, mut without_records) = (NamingTag::default(), Vec::new());
        let each = |found| match found {
            Found::Listed(_) => {}
            Found::Unread(images) => naming.unread += images,
            Found::Failed(..) => naming.unread += 1,
            Found::Image(image) if !image.was_recorded() => {
                if !image.image.is_tagged() {
                    without_records.push((image.image.pushed_at, image.image.digest));
                }
            }
            Found::Image(image) => {
                if image.names(tag) {
                    naming.images.push(*image);
                    naming.images.sort_by_key(|image| Reverse(image.removed_at(tag)));
                }
                if naming.images.len() > MAX_NAMING {
                    naming.images.pop();
                    naming.more += 1;
                }
            }
        };
        match self.of(repository, &paces).read(each).await {
            Ok(()) | Err(Stop::Signal) => {}
            Err(Stop::Call(error)) => return Err(error),
        }
        without_records.sort_by_key(|(pushed_at, _)| Reverse(*pushed_at));
        naming.without_records = without_records.into_iter().map(|(_, digest)| digest).collect();
        Ok(naming)
    }

    async fn read(
        &self,
        repository: &Repository,
        paces: &Paces,
        all: bool,
        on: OnAdvance<'_>,
    ) -> ReadRepository {
        let (now, max_hold) = (self.0.clock.now(), self.0.max_hold);
        let mut read = ReadRepository {
            images: Vec::new(),
            unclear: 0,
            failed: Vec::new(),
            is_interrupted: false,
        };
        let unreadable = |digest, problem: String| {
            let about = match &digest {
                Some(digest) => format!("{repository}@{digest}"),
                None => repository.to_string(),
            };
            on(Advance::Failed(format!("{about}: {problem}")));
            let (registry_id, repository) = (repository.registry_id(), Some(repository.clone()));
            Unreadable { registry_id, repository, digest, problem }
        };
        let each = |found| match found {
            Found::Listed(images) => on(Advance::Images(images)),
            Found::Unread(images) => {
                let problem = format!("{images} images are listed in a way that is not understood");
                read.failed.push(unreadable(None, problem));
            }
            Found::Failed(digest, error) => {
                let problem = format!("{error}{}", error.advice());
                read.failed.push(unreadable(Some(digest), problem));
            }
            Found::Image(image) => {
                let was_recorded = image.was_recorded();
                let listed = if all && was_recorded {
                    Some(image.listed(now, max_hold))
                } else {
                    image.quarantined(now, max_hold)
                };
                read.unclear += u64::from(listed.is_none() && !was_recorded);
                read.images.extend(listed);
            }
        };
        match self.of(repository, paces).read(each).await {
            Ok(()) => {}
            Err(Stop::Signal) => read.is_interrupted = true,
            Err(Stop::Call(error)) => {
                let problem = format!("{error}{}", error.advice());
                read.failed.push(unreadable(None, problem));
            }
        }
        read
    }

    fn of<'a>(&'a self, repository: &'a Repository, paces: &'a Paces) -> RepositoryReader<'a, R> {
        let ReaderParts { ecr, keys, shutdown, .. } = &self.0;
        let (registry, keys) = (ecr.unguarded(), keys.as_ref());
        RepositoryReader { registry, repository, keys, paces, shutdown }
    }
}

impl Listing {
    /// Returns whether everything was read.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_interrupted && self.failed.is_empty()
    }

    /// Returns when the oldest of the images was put into quarantine, as far as that is known.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<SystemTime> {
        let quarantined = self.images.iter().filter(|image| image.is_in_quarantine);
        quarantined.filter_map(QuarantinedImage::since).min()
    }

    fn sort(&mut self) {
        self.registries.sort_by(|one, other| order(one).cmp(&order(other)));
        self.images.sort_by(|one, other| {
            let by_place = one.repository.cmp(&other.repository);
            let by_age = || other.since().cmp(&one.since());
            by_place.then_with(by_age).then_with(|| one.digest.cmp(&other.digest))
        });
        self.failed.sort_by(|one, other| {
            let place = |of: &Unreadable| (of.repository.clone(), of.digest.clone());
            let by_registry = order(&one.registry_id).cmp(&order(&other.registry_id));
            by_registry.then_with(|| place(one).cmp(&place(other)))
        });
    }
}

/// Returns the globs that match none of these names.
fn unmatched(globs: &Globs, names: &[&str]) -> Vec<String> {
    let matches = |pattern: &String| {
        Globs::new([pattern.clone()]).is_ok_and(|glob| names.iter().any(|name| glob.admit(name)))
    };
    globs.patterns().iter().filter(|pattern| !matches(pattern)).cloned().collect()
}

fn order(registry_id: &RegistryId) -> (&str, &str) {
    (registry_id.account.as_str(), registry_id.region.as_str())
}
