//! Counts how often the SDK sends one call, and watches whether AWS throttles an attempt.
//!
//! The SDK shows its retries to interceptors only, and an interceptor belongs to a client and not
//! to a call. So a task-local value carries the call that is being sent from [`counted`] to
//! [`CountAttempts`].

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, Error, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::ErrorClass;
use super::pacing::Line;

/// A call that is being sent.
struct Sending {
    attempts: Cell<i64>,
    line: Option<Arc<Line>>,
    is_throttled: fn(&Error, u16) -> bool,
}

tokio::task_local! {
    static SENDING: Sending;
}

/// Counts the attempts of a client's calls and notes the throttled ones.
#[derive(Debug)]
pub(crate) struct CountAttempts;

impl Intercept for CountAttempts {
    fn name(&self) -> &'static str {
        "CountAttempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Attempts to fetch credentials belong to no call and are not counted.
        let _ = SENDING.try_with(|sending| {
            let before = sending.attempts.replace(sending.attempts.get() + 1);
            if before > 0
                && let Some(line) = &sending.line
            {
                line.resent();
            }
        });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let _ = SENDING.try_with(|sending| {
            if let Some(line) = &sending.line
                && let Some(Err(error)) = context.output_or_error()
                && let Some(error) = error.as_operation_error()
                && let Some(response) = context.response()
                && (sending.is_throttled)(error, response.status().as_u16())
            {
                line.throttled();
            }
        });
        Ok(())
    }
}

/// Returns the result of a call and the number of its attempts. Reports repeated and throttled
/// attempts to the line of a paced call.
pub(super) async fn counted<T, E>(
    line: Option<Arc<Line>>,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> (Result<T, SdkError<E, HttpResponse>>, i64)
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let call = async {
        let result = call.await;
        (result, SENDING.with(|sending| sending.attempts.get()))
    };
    let sending = Sending { attempts: Cell::new(0), line, is_throttled: is_throttled::<E> };
    SENDING.scope(sending, call).await
}

/// Returns whether an attempt of a call with errors of type `E` was throttled.
fn is_throttled<E>(error: &Error, status: u16) -> bool
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let code = error.downcast_ref::<E>().and_then(ProvideErrorMetadata::code);
    ErrorClass::of_code(code.unwrap_or_default(), status) == ErrorClass::Throttled
}
