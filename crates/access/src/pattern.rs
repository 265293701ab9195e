use std::fmt;

use milepost_protocol::JobId;
use serde::{Deserialize, Serialize};

/// Which jobs: an id, or what their ids begin with and `*` (`user:42:*`). `*` alone is every job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern {
    /// Without the `*`.
    text: String,
    is_prefix: bool,
}

/// Patterns that begin so are to name jobs by what they have rather than by their ids.
const RESERVED: [&str; 2] = ["tag:", "parent:"];

impl Pattern {
    /// Every job.
    pub fn all() -> Self {
        Self { text: String::new(), is_prefix: true }
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// When no job id could match it, when it has a `*` elsewhere than at its end, or when it begins with `tag:` or
    /// `parent:`, which are reserved.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |why| InvalidPattern { pattern: shortened(text), why };
        if let Some(reserved) = RESERVED.into_iter().find(|reserved| text.starts_with(reserved)) {
            let why = if reserved == "tag:" {
                "patterns by tag are reserved, and not supported yet"
            } else {
                "patterns by parent are reserved, and not supported yet"
            };
            return Err(invalid(why));
        }
        let (prefix, is_prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        if prefix.contains('*') {
            return Err(invalid("a * may stand at the end only"));
        }
        // What a job id begins with has the characters of one, and at most its length.
        let possible = if is_prefix {
            prefix.is_empty() || is_beginning(prefix)
        } else {
            JobId::parse(prefix).is_ok()
        };
        if !possible {
            return Err(invalid("no job id is like that"));
        }
        Ok(Self { text: prefix.to_owned(), is_prefix })
    }

    /// Whether the pattern names that job.
    pub fn matches(&self, job: &str) -> bool {
        if self.is_prefix { job.starts_with(&self.text) } else { job == self.text }
    }

    /// Whether the pattern names every job.
    pub fn is_all(&self) -> bool {
        self.is_prefix && self.text.is_empty()
    }

    /// Whether every job that `other` names is named by this pattern too.
    pub fn covers(&self, other: &Self) -> bool {
        if other.is_prefix {
            self.is_prefix && other.text.starts_with(&self.text)
        } else {
            self.matches(&other.text)
        }
    }
}

/// `.` and `..` are no ids, but ids begin so.
fn is_beginning(prefix: &str) -> bool {
    prefix.len() < 128 && JobId::parse(&format!("{prefix}x")).is_ok()
}

fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

/// A pattern that is not allowed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPattern {
    pattern: String,
    why: &'static str,
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern {:?}: {}", self.pattern, self.why)
    }
}

impl std::error::Error for InvalidPattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_an_id_or_its_beginning() {
        let matches = |pattern: &str, job: &str| Pattern::parse(pattern).unwrap().matches(job);
        assert!(matches("a1", "a1") && !matches("a1", "a12") && !matches("a1", "a"));
        assert!(matches("user:42:*", "user:42:render") && !matches("user:42:*", "user:421:render"));
        assert!(matches("user:42:*", "user:42:") && !matches("user:42:*", "user:42"));
        assert!(matches("*", "anything") && Pattern::parse("*").unwrap().is_all());
        assert!(matches("..*", "..a"));
    }

    #[test]
    fn what_names_no_job_is_refused() {
        for bad in ["", "a b", "a*b", "*a", "**", "a/b*", "..", "tag:x", "tag:user:*", "parent:a1"]
        {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        assert!(
            Pattern::parse(&"x".repeat(128)).is_ok() && Pattern::parse(&"x".repeat(129)).is_err()
        );
        let reserved = Pattern::parse("tag:user:42").unwrap_err().to_string();
        assert_eq!(
            reserved,
            r#"the pattern "tag:user:42": patterns by tag are reserved, and not supported yet"#
        );
    }

    #[test]
    fn one_pattern_covers_another() {
        let covers = |one: &str, other: &str| {
            Pattern::parse(one).unwrap().covers(&Pattern::parse(other).unwrap())
        };
        assert!(covers("*", "a*") && covers("a*", "a*") && covers("a*", "ab") && covers("a", "a"));
        assert!(!covers("a", "a*") && !covers("ab*", "a*") && !covers("b*", "a"));
    }
}
