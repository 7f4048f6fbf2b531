//! Checks the topics of the worker, at the start and of a changed configuration file.

use futures_util::future::join_all;
use tracing::error;

use crate::aws::{Aws, AwsError, Permission, Tried};
use crate::notify::{Notifier as _, SnsNotifier, Topic, TopicSettings};

/// Checks every topic. One that answers is enough to begin. The log names the others, and every
/// notice tries them again.
pub(super) async fn usable_topics(
    aws: &Aws,
    settings: &[TopicSettings],
) -> Result<Vec<Topic<SnsNotifier>>, AwsError> {
    let topics = settings.iter().map(|settings| async move {
        let notifier = SnsNotifier::new(aws.clone(), settings.arn.clone(), &settings.region);
        let checked = notifier.check().await;
        (settings.clone(), notifier, checked)
    });
    let topics = join_all(topics).await;
    let errors = || topics.iter().filter_map(|(_, _, checked)| checked.as_ref().err());
    if errors().count() == topics.len() {
        // A topic that cannot be reached may answer later.
        let gravest = errors().find(|error| error.class.is_transient()).or(errors().next());
        if let Some(error) = gravest {
            return Err(error.clone());
        }
    }
    Ok(topics
        .into_iter()
        .map(|(settings, notifier, checked)| {
            if let Err(error) = &checked {
                error!(topic = settings.arn, %error, "a topic cannot be used; the others can");
            }
            let refuses = checked.is_err_and(|error| !error.class.is_transient());
            Topic::new(settings, notifier, refuses)
        })
        .collect())
}

/// Returns the first permission to publish that a usable topic lacks. Nothing is sent. A topic that
/// does not answer at all is left out, because [`usable_topics`] reports it.
pub(super) async fn missing_publish(aws: &Aws, settings: &[TopicSettings]) -> Option<Tried> {
    let topics = settings.iter().map(|settings| async move {
        let notifier = SnsNotifier::new(aws.clone(), settings.arn.clone(), &settings.region);
        notifier.try_permissions().await
    });
    let is_missing = |tried: &Tried| matches!(tried.permission, Permission::Missing(_));
    let of_usable = |tried: &Vec<Tried>| {
        !tried.iter().any(|tried| tried.action == "sns:GetTopicAttributes" && is_missing(tried))
    };
    let tried = join_all(topics).await.into_iter().filter(of_usable).flatten();
    tried.into_iter().find(is_missing)
}
