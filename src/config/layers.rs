//! The sources of settings, layer on layer: defaults, one file, environment variables.
//!
//! The file is parsed before it is merged with the others, so that an error names it and
//! `effective` knows which values it gives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, FileFormat};

use super::content::Content;
use super::error::{ConfigError, Places};
use super::layer::{DEFAULTS, Layer, one_line, parse};
use super::mistake::{Mistake, Mistakes};
use super::schema::schema;
use super::source_text::SourceText;
use super::variables::{Variables, empty};
use super::{FILE_VARIABLE, Sources, TEXT_VARIABLE};

/// The layers of all sources.
pub(super) struct Layers {
    /// The text of the configuration file.
    pub(super) text: Option<Arc<SourceText>>,
    /// The layer of the configuration file.
    pub(super) file: Option<Layer>,
    /// The variables that set keys.
    pub(super) variables: Variables,
    /// All layers merged.
    pub(super) merged: Layer,
    /// The mistakes in the names of variables. The variables are left out of the layers.
    pub(super) mistakes: Vec<Mistake>,
}

impl Layers {
    /// Reads every source.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, because its keys are not known then.
    pub(super) fn read(sources: &Sources) -> Result<Self, ConfigError> {
        Self::with(sources, Content::read)
    }

    /// Reads every source, and the configuration file by `read`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, because its keys are not known then.
    pub(super) fn with(
        sources: &Sources,
        read: impl FnOnce(&Path) -> Content,
    ) -> Result<Self, ConfigError> {
        let (variables, mistakes) = Variables::read(&sources.environment, &schema());
        let whole = |text: Option<Arc<SourceText>>, mistake: Mistake| {
            let all = mistakes.iter().cloned().chain([mistake]).collect();
            let places = Places::new(text, variables.clone());
            ConfigError::new(Mistakes(all), places)
        };
        let file = match configuration_file(sources, read) {
            Ok(file) => file,
            Err(NoFile { text, mistake }) => return Err(whole(text, mistake)),
        };
        let mut builder = Config::builder();
        builder =
            builder.add_source(parse(DEFAULTS, FileFormat::Toml).map_err(|e| whole(None, e))?);
        let text = match file {
            Some((text, config)) => {
                builder = builder.add_source(config.clone());
                Some((text, Layer(config.cache)))
            }
            None => None,
        };
        let merged = builder.add_source(variables.layer()).build();
        let merged = merged.map_err(|error| whole(None, Mistake::general(one_line(&error))))?;
        let (text, file) = text.unzip();
        Ok(Self { text, file, variables, merged: Layer(merged.cache), mistakes })
    }
}

/// Why there is no configuration file to read.
struct NoFile {
    text: Option<Arc<SourceText>>,
    mistake: Mistake,
}

impl From<Mistake> for NoFile {
    fn from(mistake: Mistake) -> Self {
        Self { text: None, mistake }
    }
}

/// Returns the configuration file that the sources name, if any.
fn configuration_file(
    sources: &Sources,
    read: impl FnOnce(&Path) -> Content,
) -> Result<Option<(Arc<SourceText>, Config)>, NoFile> {
    let named = |name: &'static str| match sources.environment.get(name) {
        // An empty variable is what a shell makes of one that is not set. Without the file that
        // somebody meant, the defaults would be in force.
        Some(value) if value.is_empty() => Err(empty(name)),
        value => Ok(value.map(|value| (name, value))),
    };
    let option = sources.file.as_ref().map(|path| ("--config", path.clone()));
    let variable = named(FILE_VARIABLE)?.map(|(name, path)| (name, PathBuf::from(path)));
    let text = named(TEXT_VARIABLE)?;
    let names = [
        option.as_ref().map(|(name, _)| *name),
        variable.as_ref().map(|(name, _)| *name),
        text.map(|(name, _)| name),
    ];
    let given: Vec<_> = names.into_iter().flatten().collect();
    if let [first, second, ..] = given.as_slice() {
        let problem = format!("{first} and {second} are both set");
        return Err(Mistake::general(problem).help("give one configuration file only").into());
    }
    let (parsed, format) = match (option.or(variable), text) {
        (Some((source, path)), _) => {
            let format = format_of(source, &path)?;
            let text = read(&path).into_text(&path)?;
            (SourceText::parse(path.display().to_string(), text, format, true), format)
        }
        (None, Some((name, text))) => {
            let format = FileFormat::Toml;
            (SourceText::parse(name.to_owned(), text.clone(), format, false), format)
        }
        (None, None) => return Ok(None),
    };
    let (text, mistake) = parsed;
    let mistake = mistake.or_else(|| text.dotted_key());
    let text = Arc::new(text);
    match mistake.map_or_else(|| parse(&text.text, format), Err) {
        Ok(config) => Ok(Some((text, config))),
        Err(mistake) => Err(NoFile { text: Some(text), mistake }),
    }
}

/// Returns the format of a file, by its name.
fn format_of(source: &str, path: &Path) -> Result<FileFormat, Mistake> {
    if path.as_os_str().is_empty() {
        return Err(Mistake::general(format!("{source} is empty")).help("name a file"));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok(FileFormat::Toml),
        Some("yaml" | "yml") => Ok(FileFormat::Yaml),
        Some("json") => Ok(FileFormat::Json),
        _ => Err(Mistake::general(format!(
            "{} is no configuration file: its name must end in .toml, .yaml, .yml or .json",
            path.display()
        ))),
    }
}
