//! Patterns with `*`.

/// Matches a pattern in which `*` stands for any text.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            let mut starts = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            starts.any(|at| tail.get(at..).is_some_and(|tail| wildcard(rest, tail)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_any_text() {
        assert!(
            wildcard("quarantine-*", "quarantine-abc")
                && wildcard("*", "")
                && wildcard("a*c*e", "abcde")
        );
        assert!(!wildcard("quarantine-*", "latest") && !wildcard("a*c", "abcd"));
    }
}
