//! Any bytes as ECR's answers, or as a manifest in one of them, through the real SDK: a value or an
//! error, after a bounded number of calls.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde_json::json;
use tagwarden::aws::{Aws, AwsError, AwsSettings};
use tagwarden::domain::findings::{Reading, Scan};
use tagwarden::domain::names::{
    AccountId, Digest, Region, RegistryId, Repository, RepositoryName, Tag,
};
use tagwarden::registry::EcrRegistry;
use tagwarden::registry::{Manifest, Registry as _, UntagBy};
use tagwarden::telemetry::instruments::Instruments;

/// Pages that are read before a list is given up, and as many attempts at each as the SDK makes.
const MAX_CALLS: usize = 600 * 3;
/// Characters of the longest error.
const LONGEST_ERROR: usize = 2_048;
/// What the registry can be asked.
const QUESTIONS: [&str; 12] = [
    "scan",
    "image",
    "resolve",
    "tagged",
    "page",
    "indexes",
    "manifest",
    "repositories",
    "rules",
    "start_scan",
    "tag",
    "untag",
];
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Asks what the first line says, and answers with what follows: answers are divided by lines of
/// `---`, an answer may begin with a line such as `HTTP 400`, and the last answer is repeated for
/// as long as anybody asks.
pub(crate) fn answers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or(("", &text));
    let question = QUESTIONS.iter().find(|question| **question == first);
    let replies: Vec<_> = rest.split("\n---\n").map(Reply::parse).collect();
    match question {
        Some(question) => drop(ask(question, replies)),
        None => drop(ask(QUESTIONS[data.len() % QUESTIONS.len()], vec![Reply::parse(&text)])),
    }
}

/// Reads a manifest that ECR answers.
pub(crate) fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let id = json!({"imageDigest": digest().as_str()});
    let image = json!({"imageId": id, "imageManifest": text, "imageManifestMediaType": INDEX});
    let body = json!({"images": [image], "failures": []}).to_string();
    let replies = || vec![Reply { status: 200, body: body.clone() }];
    let given = ask("manifest", replies()).unwrap();
    let kept = Manifest {
        digest: digest(),
        text: text.clone().into_owned(),
        media_type: Some(INDEX.to_owned()),
    };
    assert_eq!(given, format!("{:?}", Some(kept)), "it is put again byte by byte");
    ask("indexes", replies()).unwrap();
    let registry = registry(&Canned::of(replies()));
    let indexes = on_a_runtime(registry.indexes(&repository(), &[digest()]));
    for index in indexes.unwrap().unwrap() {
        assert_eq!(*index.digest(), digest());
        let most = text.matches("sha256:").count();
        let entries = index.entries();
        assert!(entries.len() <= most, "{} of {most}", entries.len());
        for platform in entries.iter().filter_map(|entry| entry.child.platform.as_ref()) {
            assert!(platform.chars().count() <= 256 && !platform.contains(char::is_control));
        }
    }
}

/// One answer of ECR.
#[derive(Clone, Debug)]
struct Reply {
    status: u16,
    body: String,
}

impl Reply {
    fn parse(text: &str) -> Self {
        let with_status =
            text.strip_prefix("HTTP ").map(|rest| rest.split_once('\n').unwrap_or((rest, "")));
        match with_status.and_then(|(status, body)| Some((status.parse().ok()?, body))) {
            Some((status @ 100..1000, body)) => Self { status, body: body.to_owned() },
            _ => Self { status: 200, body: text.to_owned() },
        }
    }
}

/// Answers every request.
#[derive(Clone, Debug)]
struct Canned {
    replies: Arc<Vec<Reply>>,
    calls: Arc<AtomicUsize>,
}

impl Canned {
    fn of(replies: Vec<Reply>) -> Self {
        Self { replies: Arc::new(replies), calls: Arc::default() }
    }
}

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let at = self.calls.fetch_add(1, Ordering::Relaxed);
        let Reply { status, body } = &self.replies[at.min(self.replies.len() - 1)];
        let status = (*status).try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body.as_str()))))
    }
}

impl HttpClient for Canned {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

fn registry_id() -> RegistryId {
    RegistryId {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
    }
}

fn repository() -> Repository {
    let RegistryId { account, region } = registry_id();
    Repository { account, region, name: RepositoryName::parse("team/app").unwrap() }
}

fn digest() -> Digest {
    Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap()
}

fn registry(canned: &Canned) -> EcrRegistry {
    let credentials = Credentials::new("AKIAFUZZ", "fuzz", None, None, "fuzz");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(aws_config::Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(canned.clone())
        .time_source(SystemTimeSource::new())
        .sleep_impl(TokioSleep::new())
        .build();
    let instruments = Arc::new(Instruments::new().unwrap());
    let aws = Aws::new(&sdk, AwsSettings::default(), instruments);
    EcrRegistry::new(aws, registry_id(), UntagBy::TagAndDigest)
}

/// Time does not pass here: the SDK's pauses before another attempt take none.
fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// Asks, twice, and holds what comes of it against what the worker relies on.
fn ask(question: &str, replies: Vec<Reply>) -> Result<String, AwsError> {
    let once = || {
        let canned = Canned::of(replies.clone());
        let result = on_a_runtime(put(&registry(&canned), question));
        let calls = canned.calls.load(Ordering::Relaxed);
        assert!(calls <= MAX_CALLS, "{question}: {calls} calls");
        result
    };
    let (first, second) = (once(), once());
    match (&first, &second) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one, other, "{question}: the same answers are read alike")
        }
        (Err(one), Err(other)) => assert_eq!(one.class, other.class, "{one} / {other}"),
        _ => panic!("{question}: {first:?} / {second:?}"),
    }
    if let Err(error) = &first {
        let text = error.to_string();
        assert!(!text.is_empty() && text.chars().count() <= LONGEST_ERROR, "{question}: {text}");
    }
    first
}

/// All pages of a scan.
async fn scan(
    registry: &EcrRegistry,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<Scan>, AwsError> {
    let first = registry.scan_page(repository, digest, None, 1_000).await?;
    let Some(mut reading) = first.map(Reading::new) else { return Ok(None) };
    while let Some(token) = reading.next_token().map(str::to_owned) {
        let page = registry.scan_page(repository, digest, Some(&token), 1_000).await?;
        let Some(page) = page else { return Ok(None) };
        reading.add(page);
    }
    Ok(Some(reading.into_scan()))
}

async fn put(registry: &EcrRegistry, question: &str) -> Result<String, AwsError> {
    fn shown<T: Debug>(result: Result<T, AwsError>) -> Result<String, AwsError> {
        result.map(|value| format!("{value:?}"))
    }
    let (repository, digest, registry_id) = (&repository(), &digest(), &registry_id());
    let tags = ["1.0", "latest"].map(|tag| Tag::parse(tag).unwrap());
    let text = r#"{"schemaVersion": 2}"#.to_owned();
    let manifest = Manifest { digest: digest.clone(), text, media_type: None };
    match question {
        "scan" => shown(scan(registry, repository, digest).await),
        "image" => shown(registry.image(repository, digest).await),
        "resolve" => shown(registry.resolve(repository, &tags[0]).await),
        "tagged" => shown(registry.tagged(repository).await),
        "page" => shown(registry.page(repository, None, 100).await),
        "indexes" => shown(registry.indexes(repository, std::slice::from_ref(digest)).await),
        "manifest" => shown(registry.manifest(repository, digest).await),
        "repositories" => shown(registry.repositories(registry_id).await),
        "rules" => shown(registry.pull_through_prefixes(registry_id).await),
        "start_scan" => shown(registry.start_scan(repository, digest).await),
        "tag" => shown(registry.tag(repository, &manifest, &tags[0]).await),
        _ => shown(registry.untag(repository, digest, &tags).await),
    }
}
