//! Trying what the worker is allowed to do with a topic, without sending anything.

use super::SnsNotifier;
use crate::aws::{AwsError, Operation, Tried};
use crate::notify::Notifier as _;

impl SnsNotifier {
    /// Tries every permission on the topic. A subject over SNS's limit is refused after SNS has looked at the
    /// permission.
    pub async fn try_permissions(&self) -> Vec<Tried> {
        let arn = self.topic_arn.as_str();
        let publish = self
            .client
            .publish()
            .topic_arn(arn)
            .subject("x".repeat(101))
            .message("A permission was tried (tagwarden check --live). Nothing is to be done.");
        let publish = self.aws.call(Operation::Publish, publish.send()).await;
        vec![
            Tried::new("sns:GetTopicAttributes", arn, self.check().await),
            Tried::new("sns:Publish", arn, publish),
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
