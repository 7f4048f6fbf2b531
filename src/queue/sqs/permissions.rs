//! Tries what the worker is allowed to do with its queue, for `check --live`, without taking or
//! losing a message.
//!
//! Each call is invalid in a way that SQS notices only after it has checked the permission.

use super::SqsQueue;
use crate::aws::{AwsError, Operation, Permission, Tried};
use crate::queue::Queue as _;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

/// A receipt handle that no message has.
const NO_HANDLE: &str = "tagwarden-check";
/// One second more than the longest delay of SQS, so that it accepts no message (SQS API reference,
/// SendMessageBatch).
const NO_DELAY: i32 = 901;

impl SqsQueue {
    /// Tries every permission on the queue: a receive of zero messages, settlements of a handle
    /// that does not exist, and a message with an invalid delay. SQS refuses them only after it has
    /// checked the permission.
    pub(crate) async fn try_permissions(&self) -> Vec<Tried> {
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

    /// Returns the key that encrypts the queue, or `None` if SQS or AWS manages it.
    ///
    /// # Errors
    /// Returns the error of the call that reads the queue's attributes.
    pub(crate) async fn customer_key(&self) -> Result<Option<String>, AwsError> {
        let name = QueueAttributeName::KmsMasterKeyId;
        let request =
            self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = self.aws.call(Operation::GetQueueAttributes, request.send()).await?;
        let key = answer.attributes.and_then(|mut attributes| attributes.remove(&name));
        Ok(key.filter(|key| !key.is_empty() && !key.contains("alias/aws/")))
    }
}

/// Reports an unknown permission if the queue does not exist, because that says nothing about
/// permissions.
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
