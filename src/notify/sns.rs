//! Sends notices through Amazon SNS.

mod permissions;

use aws_sdk_sns::types::MessageAttributeValue;
use aws_sdk_sns::{Client, config};

use super::Notifier;
use super::render::Rendered;
use crate::aws::{Aws, AwsError, CountAttempts, Operation};
use crate::domain::names::Region;

/// One topic.
#[derive(Debug)]
pub(crate) struct SnsNotifier {
    aws: Aws,
    client: Client,
    topic_arn: String,
}

impl SnsNotifier {
    /// Creates the topic with this ARN, with a client for its own Region and a retry quota of its
    /// own.
    #[must_use]
    pub(crate) fn new(aws: Aws, topic_arn: String, region: &Region) -> Self {
        let config = config::Builder::from(&aws.in_region(region));
        let config = config.retry_partition(Aws::retry_quota()).interceptor(CountAttempts);
        Self { client: Client::from_conf(config.build()), aws, topic_arn }
    }
}

impl Notifier for SnsNotifier {
    async fn check(&self) -> Result<(), AwsError> {
        let request = self.client.get_topic_attributes().topic_arn(&self.topic_arn);
        self.aws.call(Operation::GetTopicAttributes, request.send()).await.map(drop)
    }

    async fn publish(&self, notice: &Rendered) -> Result<String, AwsError> {
        let mut request = self
            .client
            .publish()
            .topic_arn(&self.topic_arn)
            .subject(&notice.subject)
            .message(&notice.body);
        for (name, value) in &notice.attributes {
            let attribute =
                MessageAttributeValue::builder().data_type("String").string_value(value).build();
            let attribute = attribute
                .map_err(|error| AwsError::unexpected(Operation::Publish, error.to_string()))?;
            request = request.message_attributes(*name, attribute);
        }
        let answer = self.aws.call(Operation::Publish, request.send()).await?;
        Ok(answer.message_id.unwrap_or_default())
    }
}
