//! A sweep by hand: `tagwarden sweep` inspects every image that the policy covers. With `--apply`
//! it acts on each through the worker's own assessment, with the same safeguards, limits, audit log
//! and notices, because a second way to write would need a second proof. An image of a saved plan
//! is inspected again first, and refused if its tags or its judgement have changed.

use std::sync::Arc;

use aws_config::SdkConfig;

use super::live::{LookError, context, is_hopeless, no_message};
use super::start::usable_topics;
use super::{RunError, Signals, instruments};
use crate::aws::Aws;
use crate::config::{JudgingSettings, LimitSettings, Settings, UntagBy};
use crate::domain::coverage::{Census, Coverage};
use crate::domain::globs::Globs;
use crate::domain::image::{Digest, Home, Repository, Tag};
use crate::domain::origin::Origin;
use crate::event::{Claim, ImageEvent, Kind, sweep};
use crate::notify::sns::SnsNotifier;
use crate::queue::Message;
use crate::registry::ecr::EcrRegistry;
use crate::shutdown::Shutdown;
use crate::survey::{Document, Planned};
use crate::worker::assess::{Assessor, Context, Job};
use crate::worker::outcome::{Failure, Outcome};
use crate::worker::survey::{Pace, SurveyPage};

/// The scope and the mode of a sweep.
#[derive(Debug)]
pub struct Order {
    /// The settings that are needed to judge images.
    pub judging: JudgingSettings,
    /// The worker's own account and Region.
    pub own: Home,
    /// The settings that are needed to act. `None` means that nothing is changed.
    pub acting: Option<Settings>,
    /// The plan. If it is set, no other images are inspected or changed.
    pub plan: Option<Document>,
    /// The repositories to inspect. If there are none, all are inspected.
    pub repositories: Globs,
    /// Whether clean images are listed too.
    pub all: bool,
}

/// The progress of a sweep.
#[derive(Debug)]
pub enum Step<'a> {
    /// This many more repositories, or images of a plan, will be inspected.
    More(usize),
    /// A repository has been inspected.
    Repository(&'a Repository, &'a Census),
    /// An image of a plan has been handled.
    Image(&'a Repository, &'a Digest),
    /// This could not be inspected.
    Failed(String),
}

/// Sweeps until everything is inspected and done. At a signal, the image in hand is the last.
///
/// # Errors
/// Returns an error if nothing can be inspected, and at a second signal.
pub async fn sweep(
    order: Order,
    sdk: &SdkConfig,
    mut signals: Signals,
    on: &mut (dyn FnMut(Step<'_>) + Send),
) -> Result<Document, LookError> {
    let shutdown = Shutdown::default();
    let mut run = Run::new(order, sdk, shutdown.clone()).await?;
    tokio::select! {
        biased;
        _ = signals.stop(&shutdown) => {
            Err(LookError::Other("stopped at once by a second signal".to_owned()))
        }
        result = run.run(on) => result.map(|()| run.document),
    }
}

/// A running sweep.
struct Run {
    assessor: Assessor<EcrRegistry, SnsNotifier>,
    plan: Option<Vec<Planned>>,
    acts: bool,
    all: bool,
    repositories: Globs,
    message: Message,
    origin: Origin,
    pace: Pace,
    document: Document,
}

impl Run {
    async fn new(order: Order, sdk: &SdkConfig, shutdown: Shutdown) -> Result<Self, LookError> {
        let Order { judging, own, acting, plan, repositories, all } = order;
        if sdk.region().is_none() {
            return Err(RunError::NoRegion.into());
        }
        let instruments = Arc::new(instruments(&judging.policy, None).map_err(RunError::from)?);
        let aws = Aws::new(sdk, judging.aws, Arc::clone(&instruments));
        let clock = Aws::clock_of(sdk).ok_or(RunError::NoRegion)?;
        let topics = match &acting {
            Some(settings) => usable_topics(&aws, &settings.notify.topics)
                .await
                .map_err(|error| LookError::Failed { error })?,
            None => Vec::new(),
        };
        let acts = acting.is_some();
        let limits = acting.as_ref().map_or_else(LimitSettings::default, |acting| acting.limits);
        let untag_by = acting.map_or(UntagBy::TagAndDigest, |acting| acting.untag_by);
        let now = clock.now();
        let time = humantime::format_rfc3339_nanos(now).to_string();
        let mode = judging.policy.base.mode;
        let context = Context {
            limits,
            shutdown,
            ..context(judging.policy, own.clone(), clock, instruments)
        };
        let is_planned = plan.is_some();
        let document = match plan {
            Some(plan) => plan.to_apply(&own, mode),
            None => Document::new(&own, mode, acts),
        };
        let planned = document.planned().map_err(|error| LookError::Other(error.to_string()))?;
        Ok(Self {
            plan: is_planned.then_some(planned),
            document,
            assessor: Assessor::new(context, EcrRegistry::new(aws, own, untag_by), topics),
            acts,
            all,
            repositories,
            message: Message { sent_at: Some(now), ..no_message() },
            origin: Origin {
                id: Some(format!("sweep by hand of {time}")),
                source: sweep::SOURCE.to_owned(),
                detail_type: sweep::IMAGE.to_owned(),
                time: Some(time),
                at: Some(now),
            },
            pace: Pace::new(judging.sweep.calls_per_second),
        })
    }

    fn is_stopping(&self) -> bool {
        let Context { shutdown, health, .. } = self.assessor.context();
        shutdown.is_draining() || health.is_overreached()
    }

    async fn run(&mut self, on: &mut (dyn FnMut(Step<'_>) + Send)) -> Result<(), LookError> {
        match self.plan.take() {
            Some(plan) => {
                on(Step::More(plan.len()));
                for planned in &plan {
                    if self.is_stopping() {
                        self.document.complete = false;
                        break;
                    }
                    self.apply_if_still_so(planned).await;
                    on(Step::Image(&planned.repository, &planned.digest));
                }
                Ok(())
            }
            None => self.look(on).await,
        }
    }

    async fn look(&mut self, on: &mut (dyn FnMut(Step<'_>) + Send)) -> Result<(), LookError> {
        let Context { policy, own, .. } = self.assessor.context();
        for home in policy.registries(own) {
            let covered = match self.assessor.covered(&home).await {
                Ok(covered) => covered,
                Err(error) if home == self.assessor.context().own && is_hopeless(&error) => {
                    return Err(LookError::Failed { error });
                }
                Err(error) => {
                    let problem = LookError::Failed { error }.to_string();
                    on(Step::Failed(format!("{}/{}: {problem}", home.account, home.region)));
                    self.document.failed(&home, None, problem);
                    continue;
                }
            };
            let admits = |one: &Repository| self.repositories.admit(one.name.as_str());
            let admitted: Vec<_> = covered.into_iter().filter(admits).collect();
            on(Step::More(admitted.len()));
            for repository in &admitted {
                if self.is_stopping() {
                    self.document.complete = false;
                    return Ok(());
                }
                self.repository(repository, on).await;
            }
        }
        Ok(())
    }

    /// Inspects a whole repository, and then acts if that is wanted.
    async fn repository(&mut self, repository: &Repository, on: &mut (dyn FnMut(Step<'_>) + Send)) {
        let event = self.event(repository, None, &[]);
        let from = self.document.images.len();
        let mut census = Census::default();
        let mut token: Option<String> = None;
        loop {
            let job = self.job(&event);
            let page = self.assessor.survey(job, token.as_deref(), &self.pace).await;
            let SurveyPage { images, unread, next_token, failure } = page;
            census.add(Coverage::Failed, unread);
            for surveyed in &images {
                census.count(surveyed.coverage);
                if self.all || is_of_note(surveyed.coverage) {
                    self.document.add(repository, surveyed);
                }
            }
            match failure {
                None => {}
                Some(Failure::Abandoned) => self.document.complete = false,
                Some(failure) => {
                    let problem = LookError::from(failure).to_string();
                    on(Step::Failed(format!("{}: {problem}", repository.name)));
                    self.document.failed(&repository.home(), Some(repository), problem);
                }
            }
            token = next_token;
            if token.is_none() {
                break;
            }
        }
        self.document.count(&census);
        self.document.sort_from(from);
        on(Step::Repository(repository, &census));
        if self.acts {
            let planned = self.document.planned().unwrap_or_default().into_iter();
            for one in planned.filter(|one| one.position() >= from && one.goes) {
                if self.is_stopping() {
                    self.document.complete = false;
                    return;
                }
                self.apply(&one).await;
            }
        }
    }

    fn event(&self, repository: &Repository, digest: Option<&Digest>, tags: &[Tag]) -> ImageEvent {
        ImageEvent {
            kind: Kind::Sweep,
            origin: self.origin.clone(),
            repository: repository.clone(),
            digest: digest.cloned(),
            tags: tags.to_vec(),
            claim: Claim::Nothing,
        }
    }

    fn job<'a>(&'a self, event: &'a ImageEvent) -> Job<'a> {
        Job { message: &self.message, event, canary: false, at_once: true }
    }

    /// Acts on an image as the worker does.
    async fn apply(&mut self, planned: &Planned) {
        let Planned { repository, digest, untag, .. } = planned;
        let event = self.event(repository, Some(digest), untag);
        let result = Box::pin(self.assessor.assess(self.job(&event), &mut Vec::new())).await;
        let (word, problem) = match result {
            Ok(outcome) => (outcome.as_str(), undone(&outcome)),
            Err(failure) => (failure.as_str(), Some(LookError::from(failure).to_string())),
        };
        self.document.done(planned.position(), word, problem);
    }

    /// Acts on an image unless the registry or the policy has changed since the plan was made.
    async fn apply_if_still_so(&mut self, planned: &Planned) {
        match self.moved_on(planned).await {
            None => self.apply(planned).await,
            Some(problem) => self.document.done(planned.position(), "refused", Some(problem)),
        }
    }

    /// Returns the reason why the plan for this image no longer holds, or `None` if it does.
    async fn moved_on(&self, planned: &Planned) -> Option<String> {
        let Planned { repository, digest, .. } = planned;
        let Context { policy, own, .. } = self.assessor.context();
        if let Err(why) = policy.reach(repository, own) {
            return Some(why.as_str().to_owned());
        }
        let event = self.event(repository, Some(digest), &[]);
        let again = self.assessor.survey_again(self.job(&event), digest, &self.pace).await;
        let again = match again {
            Ok(again) => again,
            Err(failure) => return Some(LookError::from(failure).to_string()),
        };
        let Some((now, holders)) = again.split_first() else {
            return Some("the image no longer exists".to_owned());
        };
        if now.image.tags != planned.tags {
            let tags = joined(&now.image.tags);
            return Some(format!("its tags differ from the plan: {tags}"));
        }
        if now.coverage != Coverage::Untag || now.untag != planned.untag {
            let untag = joined(&now.untag);
            let coverage = now.coverage.as_str();
            return Some(format!("the judgement differs from the plan: {coverage} {untag}"));
        }
        if now.delete != planned.delete {
            let difference = if now.delete {
                "would be deleted, and the plan keeps it"
            } else {
                "would be kept, and the plan deletes it"
            };
            return Some(format!("the image itself {difference} (policy.action)"));
        }
        // The indexes of the plan have been handled by now, because they come first.
        let unplanned = holders.iter().find(|index| index.coverage == Coverage::Untag)?;
        Some(format!(
            "the index {} contains it, is not in the plan, and would lose tags too",
            unplanned.image.digest
        ))
    }
}

fn joined(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "none".to_owned();
    }
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

/// Returns whether an image is listed without `--all`. The others need no action and no attention.
fn is_of_note(coverage: Coverage) -> bool {
    !matches!(coverage, Coverage::Clean | Coverage::Quarantined | Coverage::NotAnImage)
}

/// Returns the reason why an image was not handled, from the worker's outcome. Returns `None` if it
/// was.
fn undone(outcome: &Outcome) -> Option<String> {
    let why = match outcome {
        Outcome::Blocked => "it keeps its tags, and the team was notified of the reason",
        Outcome::Unscanned => "it can no longer be judged",
        Outcome::LeftToScan => "a new scan of it has begun",
        Outcome::Overreach => "the registry removed more than requested: no more tags are removed",
        _ => return None,
    };
    Some(why.to_owned())
}
