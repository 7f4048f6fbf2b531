//! The places that settings come from.

use std::collections::HashMap;
use std::path::PathBuf;

use super::mistake::Mistake;
use crate::domain::names::Region;

/// The environment variable that holds the path of the configuration file.
pub const FILE_VARIABLE: &str = "TAGWARDEN_CONFIG";
/// The environment variable that holds the text of the configuration file, as TOML.
pub const TEXT_VARIABLE: &str = "TAGWARDEN_CONFIG_TEXT";

/// The key that makes the worker watch its file.
pub(super) const WATCH: &str = "watch";
/// The environment variable that sets it.
const WATCH_VARIABLE: &str = "TAGWARDEN__WATCH";

/// The variables of the AWS SDK that choose a kind of endpoint.
const ENDPOINT_KINDS: [&str; 2] = ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"];
/// The variables of the AWS SDK that set an endpoint, for the services that the worker calls.
const ENDPOINTS: [&str; 5] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_SNS",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_STS",
];

/// The sources of the configuration. The caller gathers them, so that tests can pass their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the command line names.
    pub file: Option<PathBuf>,
    /// The environment variables.
    pub environment: HashMap<String, String>,
}

impl Sources {
    /// Returns the environment of this process, and the file that the command line names.
    ///
    /// Variables that are not UTF-8 cannot be ours and are left out.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment }
    }

    /// Returns the path of the configuration file, if one is named.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let variable = self.environment.get(FILE_VARIABLE).filter(|path| !path.is_empty());
        self.file.clone().or_else(|| variable.map(PathBuf::from))
    }

    /// Makes the worker watch its configuration file, as the key `watch` does.
    pub fn watch(&mut self) {
        self.environment.insert(WATCH_VARIABLE.to_owned(), "true".to_owned());
    }

    /// Returns the name of the configuration file, or of the variable that holds its text.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let named = |name: &str| self.environment.get(name).filter(|value| !value.is_empty());
        let file = self.path().map(|file| file.display().to_string());
        file.or_else(|| named(TEXT_VARIABLE).map(|_| TEXT_VARIABLE.to_owned()))
    }

    /// Returns the Region that the SDK takes from the environment, if one is set.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(|name| Region::parse(self.environment.get(name)?).ok())
    }

    /// Returns an error if the environment sets both an endpoint and a kind of endpoint. The SDK
    /// refuses every call of such a service, which looks as if the network were down.
    pub(super) fn one_kind_of_endpoint(&self) -> Result<(), Mistake> {
        let value = |name: &str| self.environment.get(name).map(String::as_str).unwrap_or_default();
        let is_true = |name: &str| value(name).eq_ignore_ascii_case("true");
        if is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
            return Ok(());
        }
        let kind = ENDPOINT_KINDS.into_iter().find(|name| is_true(name));
        let endpoint = ENDPOINTS.into_iter().find(|name| !value(name).is_empty());
        match (kind, endpoint) {
            (Some(kind), Some(endpoint)) => {
                let problem = format!(
                    "{kind} and {endpoint} are both set, and the AWS SDK accepts only one of them"
                );
                Err(Mistake::general(problem).help(format!(
                    "set {kind} alone, or set only an endpoint of that kind for each service"
                )))
            }
            _ => Ok(()),
        }
    }
}
