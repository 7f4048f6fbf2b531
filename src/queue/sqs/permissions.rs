//! Trying what the worker is allowed to do with its queue, without taking or losing a message.

use super::SqsQueue;
use crate::aws::{AwsError, Operation, Permission, Tried};
use crate::queue::Queue as _;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

/// A receipt handle of no message.
const NO_HANDLE: &str = "tagwarden-check";
/// A second more than SQS delays any message, so that it takes none (SQS API reference, SendMessageBatch).
const NO_DELAY: i32 = 901;

impl SqsQueue {
    /// Tries every permission on the queue. A receive of no messages, settlements of none and a message that cannot be sent
    /// are refused by SQS only after it has looked at the permission.
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
        let send = SendMessageBatchRequestEntry::builder().id("0").message_body("tagwarden check");
        let send = send.delay_seconds(NO_DELAY).build();
        let send = client.send_message_batch().queue_url(url).set_entries(entry(send));
        let (delete, change, send) = (delete.send(), change.send(), send.send());
        let aws = &self.aws;
        vec![
            tried("sqs:GetQueueAttributes", url, self.info().await),
            tried("sqs:ReceiveMessage", url, aws.call(Operation::ReceiveMessage, receive).await),
            tried("sqs:DeleteMessage", url, aws.call(Operation::DeleteMessageBatch, delete).await),
            tried(
                "sqs:ChangeMessageVisibility",
                url,
                aws.call(Operation::ChangeMessageVisibilityBatch, change).await,
            ),
            tried("sqs:SendMessage", url, aws.call(Operation::SendMessageBatch, send).await),
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

/// A queue that does not exist says nothing of permissions.
fn tried<T>(action: &'static str, url: &str, result: Result<T, AwsError>) -> Tried {
    let codes = ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"];
    match result {
        Err(error) if codes.into_iter().any(|code| error.is(code)) => Tried {
            action,
            resource: url.to_owned(),
            permission: Permission::Unknown(format!(
                "{error}; create the queue, or correct queue.url or AWS_REGION"
            )),
        },
        result => Tried::new(action, url, result),
    }
}

fn entry<T, E>(built: Result<T, E>) -> Option<Vec<T>> {
    built.ok().map(|entry| vec![entry])
}
