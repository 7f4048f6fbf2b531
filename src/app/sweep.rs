//! Makes plans and applies them: `tagwarden plan` and `tagwarden apply`.

use std::sync::Arc;

use aws_config::SdkConfig;

use super::live::LiveError;
use super::topics::{missing_publish, usable_topics};
use super::wiring::{Client, Reading, Surroundings, dispatcher_of_command, record_settings};
use super::{Signals, identity};
use crate::config::JudgingSettings;
use crate::domain::names::{AccountId, Region, RegistryId};
use crate::inspect::CallPace;
use crate::registry::{EcrRegistry, UntagBy};
use crate::shutdown::Shutdown;
use crate::sweep::{
    Applied, Applier, ApplyParts, Document, OnAdvance, PlanParts, Planner, PolicyNote, Refusal,
    Selection,
};

/// Makes a plan in the account of the credentials. Nothing is changed. At a signal, what was found
/// so far is returned as an incomplete plan.
///
/// # Errors
/// Returns an error if nothing can be inspected, and at a second signal.
pub(crate) async fn plan(
    judging: JudgingSettings,
    selection: Selection,
    note: PolicyNote,
    sdk: &SdkConfig,
    mut signals: Signals,
    on: OnAdvance<'_>,
) -> Result<Document, LiveError> {
    let client = Client::new(sdk, judging.aws, None)?;
    let shutdown = Shutdown::default();
    let work = async {
        let own = identity::caller(&client.aws).await?;
        let now = client.clock.now();
        let policy = judging.policy.enforced();
        let records = record_settings(judging.records, &judging.restore);
        let of = Surroundings::of_command(policy, records, own.clone(), shutdown.clone(), &client);
        let registry = EcrRegistry::new(client.aws.clone(), own.clone(), UntagBy::TagAndDigest);
        let parts = PlanParts {
            inventory: Reading::new(&of, registry).inventory(&of),
            policy: of.policy.current(),
            own,
            shutdown: of.shutdown,
            calls_per_second: judging.sweep.calls_per_second,
        };
        Ok(Planner::new(parts, selection, note, now).run(on).await?)
    };
    tokio::select! {
        biased;
        _ = signals.stop(&shutdown) => Err(LiveError::SecondSignal),
        result = work => result,
    }
}

/// A plan that may be applied once a person has agreed.
#[derive(Debug)]
pub(crate) struct Application {
    settings: JudgingSettings,
    plan: Document,
    client: Client,
    own: RegistryId,
}

impl Application {
    /// Asks STS for the caller's account and checks that the plan is of it. Nothing is changed. If
    /// neither the environment nor the profile names a Region, that of the plan is used.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the plan is of another account or Region, else the call that
    /// failed.
    pub(crate) async fn prepare(
        settings: JudgingSettings,
        plan: Document,
        sdk: &SdkConfig,
    ) -> Result<Self, LiveError> {
        let sdk = match sdk.region() {
            Some(_) => sdk.clone(),
            None => {
                let region = Region::parse(&plan.region)?.to_string();
                sdk.to_builder().region(aws_config::Region::new(region)).build()
            }
        };
        let client = Client::new(&sdk, settings.aws.clone(), None)?;
        let own = identity::caller(&client.aws).await?;
        Refusal::check_registry(&plan, &own)?;
        Ok(Self { settings, plan, client, own })
    }

    /// Returns the caller's account and Region.
    #[must_use]
    pub(crate) fn own(&self) -> &RegistryId {
        &self.own
    }

    /// Returns the account of the worker's queue, if it is another one.
    #[must_use]
    pub(crate) fn other_account(&self) -> Option<AccountId> {
        let queue = self.settings.own.as_ref()?;
        (queue.account != self.own.account).then(|| queue.account.clone())
    }

    /// Returns the plan.
    #[must_use]
    pub(crate) fn plan(&self) -> &Document {
        &self.plan
    }

    /// Carries out the plan. At a signal, the image in hand is the last.
    ///
    /// # Errors
    /// Returns an error if nothing can be done, and at a second signal.
    pub(crate) async fn run(
        self,
        mut signals: Signals,
        on: OnAdvance<'_>,
    ) -> Result<Applied, LiveError> {
        let Self { settings, plan, client, own } = self;
        let shutdown = Shutdown::default();
        let work = async {
            let topics = usable_topics(&client.aws, &settings.notify.topics).await?;
            // Otherwise the first notice of removed tags would be the first to be refused.
            if plan.removals().images > 0
                && let Some(missing) = missing_publish(&client.aws, &settings.notify.topics).await
            {
                let (action, topic) = (missing.action, missing.resource);
                return Err(LiveError::Unnotifiable { action, topic });
            }
            let records = record_settings(settings.records, &settings.restore);
            let policy = settings.policy;
            let of =
                Surroundings::of_command(policy, records, own.clone(), shutdown.clone(), &client);
            let registry = EcrRegistry::new(client.aws.clone(), own.clone(), settings.untag_by);
            let reading = Reading::new(&of, registry);
            let dispatcher = dispatcher_of_command(&of, topics);
            let parts = ApplyParts {
                inventory: reading.inventory(&of),
                assessor: reading.assessor(&of, &dispatcher, settings.limits),
                policy: of.policy.current(),
                own,
                health: Arc::clone(&of.health),
                shutdown: of.shutdown.clone(),
                pace: CallPace::new(settings.sweep.calls_per_second),
            };
            let now = client.clock.now();
            Ok(Applier::new(parts, plan, now)?.run(on).await)
        };
        tokio::select! {
            biased;
            _ = signals.stop(&shutdown) => Err(LiveError::SecondSignal),
            result = work => result,
        }
    }
}
