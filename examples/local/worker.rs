//! The real worker, configured as its environment would configure it.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use tagwarden::app::App;
use tagwarden::config::{Settings, Sources};
use tagwarden::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Error;
use crate::stage::{EXCEPTIONS, PROTECTED, Stage};

/// The worker, and the pages that it serves.
pub(crate) struct Worker {
    app: App,
    shutdown: Shutdown,
    address: SocketAddr,
    /// The server of health and metrics. Dropping the set ends it.
    _pages: JoinSet<std::io::Result<()>>,
}

impl Worker {
    /// Builds the worker and serves its pages.
    pub(crate) async fn new(stage: &Stage) -> Result<Self, Error> {
        let settings = settings(stage)?;
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let app = App::new(settings, &sdk_config(stage))?;
        let mut pages = JoinSet::new();
        let router = app.router();
        pages.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { app, shutdown: Shutdown::default(), address, _pages: pages })
    }

    /// Where its pages are.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs the worker as long as the show takes, and drains it then.
    pub(crate) async fn run_beside(
        &self,
        show: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut work = pin!(self.app.work(&self.shutdown));
        tokio::select! {
            biased;
            ended = &mut work => {
                ended?;
                return Err("the worker ended before it was told to".into());
            }
            shown = show => shown?,
        }
        self.shutdown.drain();
        Ok(work.await?)
    }
}

fn settings(stage: &Stage) -> Result<Settings, Error> {
    let environment = [
        ("TAGWARDEN__POLICY__MODE", "enforce"),
        ("TAGWARDEN__QUEUE__URL", stage.queue_url.as_str()),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", &stage.topic_arn),
        ("TAGWARDEN__POLICY__PROTECTED_TAGS", PROTECTED),
        ("TAGWARDEN__HTTP__LISTEN", "127.0.0.1:0"),
        ("TAGWARDEN_CONFIG_TEXT", EXCEPTIONS),
    ];
    let environment: HashMap<_, _> =
        environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok(Settings::load(&Sources { file: None, environment })?)
}

/// What the SDK would find in the environment: endpoint, Region and credentials.
fn sdk_config(stage: &Stage) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "the example's own");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&stage.endpoint)
        .region(Region::new(stage.repository.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(SystemTimeSource::new())
        .sleep_impl(TokioSleep::new())
        .build()
}
