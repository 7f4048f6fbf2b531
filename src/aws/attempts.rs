//! How often the SDK sent one call.

use std::cell::Cell;
use std::future::Future;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

tokio::task_local! {
    static ATTEMPTS: Cell<i64>;
}

/// Counts the attempts of a client's calls: the SDK tells of them in no other way.
#[derive(Debug)]
pub struct CountAttempts;

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
        // Credentials may be fetched by a call of the SDK's own, which nobody counts.
        let _ = ATTEMPTS.try_with(|attempts| attempts.set(attempts.get() + 1));
        Ok(())
    }
}

/// The result of a call, and how often it was sent.
pub(super) async fn counted<T>(call: impl Future<Output = T>) -> (T, i64) {
    let call = async {
        let result = call.await;
        (result, ATTEMPTS.with(Cell::get))
    };
    ATTEMPTS.scope(Cell::new(0), call).await
}
