//! Trying what the worker is allowed to do with its queue, without taking or losing a message.

use super::SqsQueue;
use crate::aws::{AwsError, Operation, Tried};
use crate::queue::Queue as _;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, QueueAttributeName,
};

/// A receipt handle of no message.
const NO_HANDLE: &str = "tagwarden-check";

impl SqsQueue {
    /// Tries every permission on the queue. A receive of no messages and settlements of none are refused by SQS only
    /// after it has looked at the permission.
    pub async fn try_permissions(&self) -> Vec<Tried> {
        let url = self.url.as_str();
        let client = &self.client;
        let receive = client.receive_message().queue_url(url).max_number_of_messages(0);
        let receive = receive.visibility_timeout(0).send();
        let delete = DeleteMessageBatchRequestEntry::builder().id("0").receipt_handle(NO_HANDLE);
        let delete =
            client.delete_message_batch().queue_url(url).set_entries(entry(delete.build()));
        let change = ChangeMessageVisibilityBatchRequestEntry::builder();
        let change = change.id("0").receipt_handle(NO_HANDLE).visibility_timeout(0);
        let change = client
            .change_message_visibility_batch()
            .queue_url(url)
            .set_entries(entry(change.build()));
        let (delete, change) = (delete.send(), change.send());
        let aws = &self.aws;
        vec![
            Tried::new("sqs:GetQueueAttributes", url, self.info().await),
            Tried::new(
                "sqs:ReceiveMessage",
                url,
                aws.call(Operation::ReceiveMessage, receive).await,
            ),
            Tried::new(
                "sqs:DeleteMessage",
                url,
                aws.call(Operation::DeleteMessageBatch, delete).await,
            ),
            Tried::new(
                "sqs:ChangeMessageVisibility",
                url,
                aws.call(Operation::ChangeMessageVisibilityBatch, change).await,
            ),
        ]
    }

    /// The key that the queue is encrypted with, unless SQS or AWS manages it.
    ///
    /// # Errors
    /// Where the queue's attributes cannot be read.
    pub async fn customer_key(&self) -> Result<Option<String>, AwsError> {
        let name = QueueAttributeName::KmsMasterKeyId;
        let request =
            self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = self.aws.call(Operation::GetQueueAttributes, request.send()).await?;
        let key = answer.attributes.and_then(|mut attributes| attributes.remove(&name));
        Ok(key.filter(|key| !key.is_empty() && !key.contains("alias/aws/")))
    }
}

fn entry<T, E>(built: Result<T, E>) -> Option<Vec<T>> {
    built.ok().map(|entry| vec![entry])
}
