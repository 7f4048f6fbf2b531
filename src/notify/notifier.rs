//! The means by which notices are sent.

use std::future::Future;

use super::render::Rendered;
use crate::aws::AwsError;

/// The operations of a notification service that the worker needs.
pub(crate) trait Notifier: Send + Sync + 'static {
    /// Checks that notices can be sent.
    fn check(&self) -> impl Future<Output = Result<(), AwsError>> + Send;

    /// Sends one notice and returns the message id of SNS. Success means that the notice was
    /// accepted. It may be sent twice, but is never lost in silence.
    fn publish(&self, notice: &Rendered) -> impl Future<Output = Result<String, AwsError>> + Send;
}
