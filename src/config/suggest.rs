//! Finds the word that somebody probably meant, for "did you mean" in errors.

/// The least likeness, from 0 to 1, of a word that is worth suggesting. A lower one suggests words
/// that have nothing to do with each other.
const LEAST: f64 = 0.8;

/// Returns the word that is most like the one given, if one is like it at all. Case and the kind
/// of separator make no difference, because these are what people mistype.
pub(crate) fn closest<'a>(
    given: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = plain(given);
    let likeness = |word: &str| strsim::jaro_winkler(&given, &plain(word));
    let likely = words.into_iter().map(|word| (likeness(word), word));
    let likely = likely.filter(|(likeness, _)| *likeness >= LEAST);
    likely.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, word)| word)
}

fn plain(word: &str) -> String {
    let start = word.chars().take(200);
    start.filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns "; did you mean ...?" to be added to an error, or nothing.
pub(crate) fn did_you_mean(word: Option<&str>) -> String {
    word.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_lead_to_the_word_and_other_words_do_not() {
        let keys = ["mode", "max_findings", "protected_tags", "keep_at_least", "rules"];
        for (given, meant) in [
            ("mod", "mode"),
            ("Mode", "mode"),
            ("maxFindings", "max_findings"),
            ("max-finding", "max_findings"),
            ("protect_tags", "protected_tags"),
            ("keep_atleast", "keep_at_least"),
            ("rule", "rules"),
        ] {
            assert_eq!(closest(given, keys), Some(meant), "{given}");
        }
        for given in ["", "x", "severity", "topic_arn", "\u{202e}"] {
            assert_eq!(closest(given, keys), None, "{given}");
        }
    }
}
