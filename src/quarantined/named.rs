//! Finds the image that a person names by the beginning of its digest, as tables show it.

use super::reader::Reader;
use crate::aws::AwsError;
use crate::domain::image_reference::{ImageReference, NamedImage, ShortReference, TagOrDigest};
use crate::domain::names::{Digest, RegistryId, Repository};
use crate::registry::Registry;

/// The images that an error names.
const LISTED: usize = 10;

/// Why it is not known which image a person names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotNamed {
    /// No image in quarantine has a digest that begins so, or several have.
    #[error("{0}")]
    Unclear(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] AwsError),
}

/// Returns the reference to the image that a person names. The beginning of a digest is looked up
/// among the images of the repository that bear our mark.
///
/// # Errors
/// [`NotNamed`] says why no image is meant.
pub(crate) async fn whole<R: Registry>(
    reader: &Reader<R>,
    named: &NamedImage,
) -> Result<ImageReference, NotNamed> {
    let short = match named {
        NamedImage::Whole(reference) => return Ok(reference.clone()),
        NamedImage::Short(short) => short,
    };
    let RegistryId { account, region } = short.registry.as_ref().unwrap_or(reader.own()).clone();
    let repository = Repository { account, region, name: short.repository.clone() };
    among(short, reader.marked(&repository).await?)
}

/// Returns the one of these images whose digest begins so.
fn among(short: &ShortReference, marked: Vec<Digest>) -> Result<ImageReference, NotNamed> {
    let begins = |digest: &Digest| {
        digest.as_str().strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(&short.digits))
    };
    let meant: Vec<_> = marked.into_iter().filter(begins).collect();
    match (meant.as_slice(), &short.tag) {
        ([digest], _) => Ok(short.of(TagOrDigest::Digest(digest.clone()))),
        // An image may have a tag that only looks like a mark.
        ([], Some(tag)) => Ok(short.of(TagOrDigest::Tag(tag.clone()))),
        ([], None) => Err(NotNamed::Unclear(none(short))),
        (several, _) => Err(NotNamed::Unclear(ambiguous(short, several))),
    }
}

fn none(short: &ShortReference) -> String {
    let ShortReference { repository, digits, .. } = short;
    format!(
        "{repository}@sha256:{digits}: no image in quarantine has a digest that begins so; for \
         another image give the whole digest: `aws ecr describe-images --repository-name \
         {repository} --query 'imageDetails[].imageDigest'` has all, `tagwarden list` those in \
         quarantine"
    )
}

fn ambiguous(short: &ShortReference, several: &[Digest]) -> String {
    let ShortReference { repository, digits, .. } = short;
    let more = several.len().saturating_sub(LISTED);
    let named = several.iter().take(LISTED).map(|digest| format!("{repository}@{digest}"));
    let named: Vec<_> = named.collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!(
        "{repository}@sha256:{digits}: several images in quarantine have a digest that begins so; \
         name one of them: {}{more}",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests() -> Vec<Digest> {
        let hex = ["0123abcd1", "0123abcd2", "45670000f"];
        let digest = |hex: &str| Digest::parse(format!("sha256:{hex:f<64}")).unwrap();
        hex.map(digest).into()
    }

    fn said(name: &str) -> Result<String, String> {
        let Ok(NamedImage::Short(short)) = NamedImage::parse(name) else { panic!("{name}") };
        match among(&short, digests()) {
            Ok(ImageReference { image: TagOrDigest::Digest(digest), .. }) => Ok(digest.to_string()),
            Ok(ImageReference { image: TagOrDigest::Tag(tag), .. }) => Ok(tag.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn beginning_that_several_digests_have_names_all_of_them() {
        let [one, other, third] = digests().try_into().unwrap();
        assert_eq!(said("app@0123abcd1"), Ok(one.to_string()));
        assert_eq!(said("app:quarantine-45670000"), Ok(third.to_string()));
        let problem = said("app@sha256:0123abcd").unwrap_err();
        assert!(
            problem.ends_with(&format!("name one of them: app@{one}, app@{other}")),
            "{problem}"
        );
        let problem = said("app@sha256:99999999").unwrap_err();
        assert!(problem.contains("give the whole digest: `aws ecr describe-images "), "{problem}");
        assert_eq!(said("app:quarantine-99999999"), Ok("quarantine-99999999".to_owned()));
    }
}
