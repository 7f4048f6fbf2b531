//! The real worker, configured as its environment would configure it.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sim::RepoKey;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use tagwarden::app::App;
use tagwarden::config::{Settings, Sources};
use tagwarden::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Error;
use crate::page::WIDTH;
use crate::seed::Scope;
use crate::stage::{EXCEPTIONS, PROTECTED, Stage, VISITOR, WORKER};

/// What signs the worker's records. In earnest it is a secret that the worker alone has, of 32 random bytes.
const RESTORE_KEY: &str = "a-key-of-the-demo-that-everybody-can-read-and-use";

/// The worker, and the pages that it serves.
pub(crate) struct Worker {
    app: App,
    shutdown: Shutdown,
    address: SocketAddr,
    exports: String,
    /// The server of health and metrics. Dropping the set ends it.
    _pages: JoinSet<std::io::Result<()>>,
}

impl Worker {
    /// Builds the worker and serves its pages.
    pub(crate) async fn new(stage: &Stage, by: &Configuration) -> Result<Self, Error> {
        let settings = by.settings(stage)?;
        let exports = by.exports(stage, settings.policy.base.mode.as_str())?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", settings.listen))?;
        let address = listener.local_addr()?;
        let app = App::new(settings, &sdk_config(stage))?;
        let mut pages = JoinSet::new();
        let router = app.router();
        pages.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { app, shutdown: Shutdown::default(), address, exports, _pages: pages })
    }

    /// Where its pages are.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What makes another shell's `tagwarden` work on the same stage.
    pub(crate) fn exports(&self) -> &str {
        &self.exports
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

/// How the worker is configured.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// A file whose policy takes the place of the example's own, as an absolute path.
    pub(crate) file: Option<PathBuf>,
    /// What the events of a file need of the example's own policy.
    pub(crate) scope: Scope,
}

impl Configuration {
    /// The variables of a worker on this stage that listens there, as a shell would set them.
    fn variables(&self, stage: &Stage, listen: &str) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("TAGWARDEN__QUEUE__URL", stage.queue_url.clone()),
            ("TAGWARDEN__NOTIFY__TOPIC_ARN", stage.topic_arn.clone()),
            ("TAGWARDEN__HTTP__LISTEN", listen.to_owned()),
        ];
        if self.file.is_some() {
            return variables;
        }
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
        let Scope { accounts, regions } = &self.scope;
        if accounts.len() > 1 || regions.len() > 1 {
            variables.push(("TAGWARDEN__POLICY__ACCOUNTS", list(accounts)));
            variables.push(("TAGWARDEN__POLICY__REGIONS", list(regions)));
        }
        variables.extend([
            ("TAGWARDEN__POLICY__MODE", "enforce".to_owned()),
            ("TAGWARDEN__POLICY__PROTECTED_TAGS", PROTECTED.to_owned()),
            ("TAGWARDEN_CONFIG_TEXT", EXCEPTIONS.to_owned()),
        ]);
        variables
    }

    fn settings(&self, stage: &Stage) -> Result<Settings, Error> {
        // A visitor who types Ctrl-C does not wait for a long poll of twenty seconds.
        let own = of_the_worker().into_iter().chain([("TAGWARDEN__SHUTDOWN__GRACE", "8s")]);
        let own = own.map(|(name, value)| (name, value.to_owned()));
        let environment = self.variables(stage, "127.0.0.1:0").into_iter().chain(own);
        let environment: HashMap<_, _> =
            environment.map(|(name, value)| (name.to_owned(), value)).collect();
        Settings::load(&Sources { file: self.file.clone(), environment }).map_err(|error| {
            match &self.file {
                Some(file) => format!(
                    "--config {}:\n{error}\n(queue.url, notify.topic_arn, http.listen and restore are \
                     the example's own)",
                    file.display()
                )
                .into(),
                None => error.into(),
            }
        })
    }

    /// The lines that make another shell's `tagwarden` work on this stage.
    fn exports(&self, stage: &Stage, mode: &str) -> Result<String, Error> {
        let RepoKey { region, .. } = &stage.repository;
        // A port that is free now, so that `run` and `healthcheck` agree on one.
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut lines = vec![
            format!("export AWS_ENDPOINT_URL={} \\", stage.endpoint),
            format!("  AWS_REGION={region} AWS_DEFAULT_REGION={region} \\"),
            format!("  AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY=demo", VISITOR.access_key),
        ];
        let file = self.file.as_ref().map(|file| {
            [
                ("TAGWARDEN_CONFIG", file.display().to_string()),
                ("TAGWARDEN__POLICY__MODE", mode.to_owned()),
            ]
        });
        let variables = self.variables(stage, &free.to_string());
        for (name, value) in variables.into_iter().chain(file.into_iter().flatten()) {
            lines.push(assignment(&format!("export {name}="), &quoted(&value)));
        }
        Ok(lines.join("\n"))
    }
}

/// The variables that only the worker has: who may ask it to restore an image, and the key that signs its records.
fn of_the_worker() -> [(&'static str, &'static str); 3] {
    [
        ("TAGWARDEN__RESTORE__KEY", RESTORE_KEY),
        ("TAGWARDEN__RESTORE__SENDERS", VISITOR.role_id),
        ("TAGWARDEN__RESTORE__HOLD_SENDERS", VISITOR.role_id),
    ]
}

/// What starts a second worker in a shell that has the exports.
pub(crate) fn second_worker() -> String {
    let own = of_the_worker().map(|(name, value)| format!("{name}={value} \\\n  "));
    format!("AWS_ACCESS_KEY_ID={} \\\n  {}cargo run -- run", WORKER.access_key, own.concat())
}

/// An assignment that a shell reads, with the value on a line of its own if both together are too wide.
fn assignment(to: &str, value: &str) -> String {
    let width = to.len() + value.lines().next().unwrap_or_default().len();
    let between = if width > WIDTH { "\\\n" } else { "" };
    format!("{to}{between}{value}")
}

/// A value as a shell reads it back.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=@".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// What the SDK would find in the environment: endpoint, Region and credentials.
fn sdk_config(stage: &Stage) -> SdkConfig {
    let credentials = Credentials::new(WORKER.access_key, "demo", None, None, "the example's own");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&stage.endpoint)
        .region(Region::new(stage.repository.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(SystemTimeSource::new())
        .sleep_impl(TokioSleep::new())
        .build()
}
