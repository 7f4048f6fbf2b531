//! What to run with one's own credentials for images whose tags the worker does not give back:
//! those without a record, and those whose record nobody has signed.
//!
//! The commands are those of docs/undo.md. Every name in them is checked by its type, and none of
//! their alphabets has a character that a shell reads.

use super::request::{Chosen, Standing};
use crate::domain::names::{Repository, Tag};

/// The functions of the page.
const FUNCTIONS: &str = include_str!("by_hand.sh");
/// What stands for tags that no record names.
const UNKNOWN: &str = "TAG...";

/// Returns the commands for these images, or `None` if none of them needs any.
#[must_use]
pub(super) fn commands<'a>(chosen: impl Iterator<Item = &'a Chosen>) -> Option<String> {
    let by_hand = |one: &&Chosen| {
        matches!(
            one.standing,
            Standing::NotSigned | Standing::Unrecorded | Standing::TooManyArtifacts
        )
    };
    let acts: String = chosen.filter(by_hand).map(act).collect();
    (!acts.is_empty()).then(|| format!("{FUNCTIONS}\n{acts}"))
}

fn act(chosen: &Chosen) -> String {
    let Repository { account, region, name } = &chosen.repository;
    let tags: Vec<_> = chosen.tags.iter().map(Tag::as_str).collect();
    // No record names its tags, so a person fills them in from the notice or the audit log.
    let (comment, tags) = match tags.is_empty() {
        true => ("# ", UNKNOWN.to_owned()),
        false => ("", tags.join(" ")),
    };
    format!(
        "ACCOUNT={account} REGION={region} REPOSITORY={name}\nDIGEST={}\n{comment}give_back {tags}\n",
        chosen.digest
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::names::{Digest, sample};

    fn chosen(standing: Standing, tags: &[&str]) -> Chosen {
        Chosen {
            repository: sample::repository("team/app"),
            digest: Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap(),
            tags: tags.iter().map(|tag| Tag::parse(*tag).unwrap()).collect::<BTreeSet<_>>(),
            is_narrowed: false,
            since: None,
            rule: None,
            worst: None,
            standing,
        }
    }

    #[test]
    fn page_has_the_same_commands() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/undo.md");
        let page = std::fs::read_to_string(path).unwrap();
        let indent =
            |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("   {line}\n") };
        let functions: String = FUNCTIONS.lines().map(indent).collect();
        assert!(page.contains(&functions), "{functions}");
    }

    #[test]
    fn only_images_that_the_worker_refuses_need_commands() {
        for standing in [Standing::Askable, Standing::Closed, Standing::Archived, Standing::NotHeld]
        {
            assert_eq!(commands([chosen(standing, &["1.0"])].iter()), None, "{standing:?}");
        }
        let all = [
            chosen(Standing::Askable, &["0.9"]),
            chosen(Standing::NotSigned, &["1.0", "latest"]),
            chosen(Standing::Unrecorded, &[]),
        ];
        let commands = commands(all.iter()).unwrap();
        let (functions, acts) = commands.split_once("\nACCOUNT=").unwrap();
        assert!(functions.ends_with(")\n"), "{functions}");
        assert!(acts.contains("\ngive_back 1.0 latest\n"), "{acts}");
        assert!(acts.ends_with("\n# give_back TAG...\n"), "{acts}");
        assert!(!acts.contains("0.9"), "{acts}");
    }
}
