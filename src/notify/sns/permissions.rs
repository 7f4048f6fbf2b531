//! Trying what the worker is allowed to do with a topic, without sending anything.

use super::SnsNotifier;
use crate::aws::{AwsError, Operation, Permission, Tried};
use crate::notify::Notifier as _;

impl SnsNotifier {
    /// Tries every permission on the topic. SNS refuses a subject over its limit, and a text that says of itself to be
    /// JSON and is none.
    pub async fn try_permissions(&self) -> Vec<Tried> {
        let arn = self.topic_arn.as_str();
        let publish = self
            .client
            .publish()
            .topic_arn(arn)
            .subject("x".repeat(101))
            .message_structure("json")
            .message("A permission was tried (tagwarden check --live). Nothing is to be done.");
        let publish = self.aws.call(Operation::Publish, publish.send()).await;
        vec![
            tried("sns:GetTopicAttributes", arn, self.check().await),
            tried("sns:Publish", arn, publish),
        ]
    }

    /// The key that the topic is encrypted with, unless AWS manages it.
    ///
    /// # Errors
    /// Where the topic's attributes cannot be read.
    pub async fn customer_key(&self) -> Result<Option<String>, AwsError> {
        let request = self.client.get_topic_attributes().topic_arn(&self.topic_arn);
        let answer = self.aws.call(Operation::GetTopicAttributes, request.send()).await?;
        let key = answer.attributes.and_then(|mut attributes| attributes.remove("KmsMasterKeyId"));
        Ok(key.filter(|key| !key.is_empty() && !key.contains("alias/aws/")))
    }
}

/// A topic that does not exist says nothing of permissions.
fn tried<T>(action: &'static str, arn: &str, result: Result<T, AwsError>) -> Tried {
    match result {
        Err(error) if error.is("NotFound") || error.is("NotFoundException") => Tried {
            action,
            resource: arn.to_owned(),
            permission: Permission::Unknown(format!(
                "{error}; create the topic, or correct its ARN"
            )),
        },
        result => Tried::new(action, arn, result),
    }
}
