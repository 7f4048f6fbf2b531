//! What keeps a violating image's tags in place although they may go: too few others to run, and repositories that a
//! pull would fill again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::assess::{Assessor, Job};
use super::observe::{Seen, Violation};
use super::outcome::Failure;
use crate::aws::{AwsError, ErrorClass};
use crate::domain::image::{Home, Repository};
use crate::notify::Notifier;
use crate::registry::Registry;

/// The newest images that are looked at in search of some without a known violation.
const MOST_LOOKED_AT: usize = 50;
/// How long a registry's pull-through cache rules are believed.
const KEPT: Duration = Duration::from_secs(300);
/// The prefix that stands for every repository (ECR user guide, "Creating a pull through cache rule").
const ROOT: &str = "ROOT";

/// The prefixes of pull-through cache repositories, by registry.
#[derive(Debug, Default)]
pub(super) struct PullThrough(Mutex<HashMap<Home, (Instant, Vec<String>)>>);

impl PullThrough {
    fn known(&self, home: &Home) -> Option<Vec<String>> {
        let registries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, prefixes) = registries.get(home)?;
        (read.elapsed() < KEPT).then(|| prefixes.clone())
    }

    fn remember(&self, home: Home, prefixes: Vec<String>) {
        let mut registries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registries.insert(home, (Instant::now(), prefixes));
    }
}

fn prefix_of<'a>(prefixes: &'a [String], repository: &Repository) -> Option<&'a String> {
    let name = repository.name.as_str();
    prefixes.iter().find(|prefix| {
        let rest = name.strip_prefix(prefix.as_str());
        prefix.as_str() == ROOT || rest.is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Whether it is ECR's own trouble, which ends: an emulator that lacks the operation answers with a status like that too.
fn is_passing(error: &AwsError) -> bool {
    match error.class {
        ErrorClass::Throttled
        | ErrorClass::Timeout
        | ErrorClass::Connection
        | ErrorClass::Credentials => true,
        ErrorClass::Unavailable => error.code.as_deref().is_some_and(|code| {
            !["Unknown", "NotImplemented", "Unsupported"].iter().any(|word| code.contains(word))
        }),
        ErrorClass::Refused | ErrorClass::Rejected => false,
    }
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Adds to the plan why nothing may be untagged, if so.
    #[tracing::instrument(name = "decide", skip_all)]
    pub(super) async fn hold(
        &self,
        job: Job<'_>,
        violation: &mut Violation,
    ) -> Result<(), Failure> {
        if violation.plan.untag.is_empty() {
            return Ok(());
        }
        if let Some(prefix) = self.pull_through(job).await? {
            violation.plan.holds.push(format!(
                "the repository is a pull-through cache ({prefix}): the next pull would bring the tags back"
            ));
        }
        let least = self.terms(job).keep_at_least;
        if violation.plan.holds.is_empty() && least > 0 {
            let others = self.others(job, violation, least).await?;
            if others < least {
                violation.plan.holds.push(format!(
                    "only {others} other tagged images without a known violation are left, and {least} must be \
                     (keep_at_least)"
                ));
            }
        }
        Ok(())
    }

    /// The prefix by which the repository is filled from another registry, if it is.
    pub(super) async fn pull_through(&self, job: Job<'_>) -> Result<Option<String>, Failure> {
        let repository = &job.event.repository;
        let home = repository.home();
        if let Some(prefixes) = self.pull_through.known(&home) {
            return Ok(prefix_of(&prefixes, repository).cloned());
        }
        let prefixes = match self.registry.pull_through_prefixes(&home).await {
            Ok(prefixes) => prefixes,
            Err(error) if is_passing(&error) => return Err(Failure::Transient(error)),
            // What has no such API has no such repositories either.
            Err(error) => {
                warn!(
                    account = %home.account,
                    region = %home.region,
                    %error,
                    "cannot tell pull-through cache repositories and takes it that there are none; where access is \
                     denied, allow ecr:DescribePullThroughCacheRules"
                );
                Vec::new()
            }
        };
        self.pull_through.remember(home, prefixes.clone());
        Ok(prefix_of(&prefixes, repository).cloned())
    }

    /// Counts other tagged images without a known violation, no further than `enough`.
    async fn others(
        &self,
        job: Job<'_>,
        violation: &Violation,
        enough: usize,
    ) -> Result<usize, Failure> {
        let Some(listing) = self.listing(job).await? else { return Ok(0) };
        let repository = &job.event.repository;
        let mut found = 0;
        for digest in listing.pullable.iter().take(MOST_LOOKED_AT) {
            if found >= enough {
                break;
            }
            if *digest == violation.image.digest {
                continue;
            }
            // The listing can be old: only an image that still has a tag counts.
            let image = self.ecr(job, || self.registry.image(repository, digest)).await?;
            let Some(image) = image.filter(|image| image.is_pullable()) else { continue };
            let seen = match self.observe_other(job, image).await {
                // One that cannot be looked at is not known to be without a violation, and holds up nobody.
                Err(Failure::Rejected(_) | Failure::Refused(_)) => continue,
                seen => seen?,
            };
            found +=
                usize::from(!matches!(seen, Seen::Violation(_) | Seen::NotAnImage | Seen::Absent));
        }
        Ok(found)
    }
}
