//! Tries what the worker is allowed to do with a topic, for `check --live`, without sending
//! anything.

use super::SnsNotifier;
use crate::aws::{AwsError, Operation, Permission, Tried};
use crate::notify::Notifier as _;

impl SnsNotifier {
    /// Tries every permission on the topic. The notice that it publishes is never delivered,
    /// because SNS refuses a subject over its limit, and a body that claims to be JSON and is not.
    pub(crate) async fn try_permissions(&self) -> Vec<Tried> {
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

    /// Returns the key that encrypts the topic, or `None` if AWS manages it.
    ///
    /// # Errors
    /// Returns the error of the call that reads the topic's attributes.
    pub(crate) async fn customer_key(&self) -> Result<Option<String>, AwsError> {
        let request = self.client.get_topic_attributes().topic_arn(&self.topic_arn);
        let answer = self.aws.call(Operation::GetTopicAttributes, request.send()).await?;
        let key = answer.attributes.and_then(|mut attributes| attributes.remove("KmsMasterKeyId"));
        Ok(key.filter(|key| !key.is_empty() && !key.contains("alias/aws/")))
    }
}

/// Reports an unknown permission if the topic does not exist, because that says nothing about
/// permissions.
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
