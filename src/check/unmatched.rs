//! Finds patterns that can match no name at all. Such a pattern looks as if it protected or covered
//! something, and does neither.

/// The kind of name that a pattern is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Repositories,
    Tags,
}

/// The characters by which a glob matches others.
const OF_GLOBS: &str = "*?[]{}\\";

/// Returns the reason why a pattern matches no name of this kind, and what to do about it.
pub(super) fn reason(pattern: &str, names: Names) -> Option<String> {
    // Only what is outside of brackets stands for itself.
    let literal = without_brackets(pattern);
    if has_comma_outside_braces(&literal) {
        return Some("it holds a comma; write each pattern as an item of its own".to_owned());
    }
    let foreign = |c: &char| !OF_GLOBS.contains(*c) && *c != ',' && !is_of_a_name(*c, names);
    match (names, literal.chars().find(foreign)) {
        (Names::Tags, Some(c @ ('/' | ':'))) => Some(format!(
            "no tag has a `{c}`; name only the tag here, and repositories in `repositories`"
        )),
        (Names::Repositories, Some(':')) => {
            Some("no repository's name has a `:`; leave out the tag".to_owned())
        }
        (Names::Repositories, Some(c)) if c.is_ascii_uppercase() => {
            Some("names of repositories are in lower case".to_owned())
        }
        (_, Some(c)) => Some(format!("no such name has a {c:?}")),
        (Names::Repositories, None) if literal.contains(".dkr.ecr") => Some(
            "it holds the registry's host; a repository's name begins after the first `/`"
                .to_owned(),
        ),
        (Names::Repositories, None) if literal.starts_with('/') => {
            Some("no repository's name begins with `/`".to_owned())
        }
        (Names::Repositories, None) if literal.ends_with('/') => {
            Some(format!("no repository's name ends with `/`; did you mean `{pattern}*`?"))
        }
        (_, None) => None,
    }
}

/// Returns whether a name may hold this character (ECR API reference, CreateRepository; OCI
/// distribution specification, tags).
fn is_of_a_name(c: char, names: Names) -> bool {
    match names {
        Names::Repositories => c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c),
        Names::Tags => c.is_ascii_alphanumeric() || "._-".contains(c),
    }
}

fn has_comma_outside_braces(pattern: &str) -> bool {
    let mut depth = 0_usize;
    pattern.chars().any(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn without_brackets(pattern: &str) -> String {
    let mut is_within = false;
    let outside = pattern.chars().filter(|c| {
        let was_within = is_within;
        is_within = (is_within || *c == '[') && *c != ']';
        !was_within && !is_within
    });
    outside.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_match_no_name_have_a_reason() {
        for (pattern, names, expected) in [
            ("team/app:prod-*", Names::Tags, "no tag has a `/`"),
            ("app:prod-*", Names::Tags, "no tag has a `:`"),
            ("prod-*,v1-*", Names::Tags, "it holds a comma"),
            ("prod *", Names::Tags, "no such name has a ' '"),
            ("^prod", Names::Tags, "no such name has a '^'"),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/*", Names::Repositories, "host"),
            ("team/app:1.0", Names::Repositories, "leave out the tag"),
            ("Team/*", Names::Repositories, "lower case"),
            ("team/", Names::Repositories, "did you mean `team/*`?"),
            ("/team/*", Names::Repositories, "begins with `/`"),
        ] {
            let reason = reason(pattern, names).unwrap_or_default();
            assert!(reason.contains(expected), "{pattern}: {reason}");
        }
    }

    #[test]
    fn patterns_that_match_some_name_have_none() {
        for (pattern, names) in [
            ("prod-*", Names::Tags),
            ("v[0-9]*", Names::Tags),
            ("v[1,2]*", Names::Tags),
            ("{prod,live}-*", Names::Tags),
            ("V1.0_RC-?", Names::Tags),
            ("team/*", Names::Repositories),
            ("{a,b}/[x-z]*", Names::Repositories),
            ("*/legacy", Names::Repositories),
            ("", Names::Repositories),
        ] {
            assert_eq!(reason(pattern, names), None, "{pattern}");
        }
    }
}
