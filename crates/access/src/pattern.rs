use std::fmt;

use milepost_protocol::{Attribute, JobId, MAX_NAME_BYTES, State};
use serde::{Deserialize, Serialize};

/// Which jobs: an id, or a prefix of ids and `*` (`user:42:*`). `*` alone matches every job. After `tag:` or `parent:`, the
/// pattern is compared to the job's tags or its `parent_id` instead (`tag:user:42`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern {
    of: Of,
    /// The text to compare: without `tag:` or `parent:`, and without the `*`.
    text: String,
    is_prefix: bool,
}

/// The part of a job to which a pattern is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Id,
    Tag,
    Parent,
}

impl Of {
    /// The prefix of such a pattern.
    const fn marker(self) -> &'static str {
        match self {
            Self::Id => "",
            Self::Tag => "tag:",
            Self::Parent => "parent:",
        }
    }
}

impl Pattern {
    /// The pattern that matches every job.
    pub fn all() -> Self {
        Self { of: Of::Id, text: String::new(), is_prefix: true }
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// When no job id, or no tag, can match it, or it has a `*` that is not at its end.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |why| InvalidPattern { pattern: shortened(text), why };
        let marked = [Of::Tag, Of::Parent]
            .into_iter()
            .find_map(|of| text.strip_prefix(of.marker()).map(|rest| (of, rest)));
        let (of, rest) = marked.unwrap_or((Of::Id, text));
        let (prefix, is_prefix) = rest.strip_suffix('*').map_or((rest, false), |text| (text, true));
        if prefix.contains('*') {
            return Err(invalid("a * may stand at the end only"));
        }
        if of == Of::Tag {
            let is_tag = prefix.len() <= MAX_NAME_BYTES && (is_prefix || !prefix.is_empty());
            if !is_tag {
                return Err(invalid("a tag has 1 to 64 bytes"));
            }
            return Ok(Self { of, text: prefix.to_owned(), is_prefix });
        }
        // A prefix of a job id has only characters of job ids, and is no longer than one.
        let possible = if is_prefix {
            prefix.is_empty() || is_beginning(prefix)
        } else {
            JobId::parse(prefix).is_ok()
        };
        if !possible {
            return Err(invalid("no job id is like that"));
        }
        Ok(Self { of, text: prefix.to_owned(), is_prefix })
    }

    /// Whether the pattern matches that job by its id alone.
    pub fn matches(&self, job: &str) -> bool {
        self.of == Of::Id && self.fits(job)
    }

    /// Whether the pattern matches the job with this present state.
    pub fn matches_state(&self, state: &State) -> bool {
        let attribute = match self.of {
            Of::Id => return self.fits(state.job().as_str()),
            Of::Tag => Attribute::Tags,
            Of::Parent => Attribute::ParentId,
        };
        state.texts(attribute).iter().any(|text| self.fits(text))
    }

    /// Whether matching needs the job's state: the pattern is compared to its tags or its parent.
    pub fn needs_state(&self) -> bool {
        self.of != Of::Id
    }

    fn fits(&self, text: &str) -> bool {
        if self.is_prefix { text.starts_with(&self.text) } else { text == self.text }
    }

    /// Whether the pattern matches every job.
    pub fn is_all(&self) -> bool {
        self.of == Of::Id && self.is_prefix && self.text.is_empty()
    }

    /// Whether this pattern matches every job that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        let covers = if other.is_prefix {
            self.is_prefix && other.text.starts_with(&self.text)
        } else {
            self.fits(&other.text)
        };
        self.is_all() || (self.of == other.of && covers)
    }
}

/// `.` and `..` are not ids, but ids may begin with them.
fn is_beginning(prefix: &str) -> bool {
    prefix.len() < 128 && JobId::parse(&format!("{prefix}x")).is_ok()
}

fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.of.marker(), self.text, if self.is_prefix { "*" } else { "" })
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

/// Why a pattern is invalid.
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
    fn a_pattern_may_be_of_a_tag_or_the_parent() {
        let state = |fields: &str| {
            let json = format!(
                r#"{{"job_id":"a1","status":"queued"{fields},"attempt":1,"position":"1-1"}}"#
            );
            State::parse(&json).unwrap()
        };
        let tagged = state(r#","tags":["batch","user:42"],"parent_id":"p:7""#);
        let fits = |pattern: &str| {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern.clone()));
            pattern.matches_state(&tagged)
        };
        for fitting in
            ["tag:user:42", "tag:user:*", "tag:*", "parent:p:7", "parent:p:*", "a1", "a*"]
        {
            assert!(fits(fitting), "{fitting}");
        }
        for other in
            ["tag:user:4", "tag:a1", "parent:a1", "parent:p:70", "tag:p:7", "user:42", "p:7"]
        {
            assert!(!fits(other), "{other}");
        }
        // The id alone does not decide, and a worker's own field of that name is not an attribute.
        assert!(!Pattern::parse("tag:*").unwrap().matches("tag:a"));
        for own in ["", r#","tags":"user:42""#, r#","tags":[["user:42"]]"#, r#","tags":null"#] {
            assert!(!Pattern::parse("tag:*").unwrap().matches_state(&state(own)), "{own}");
        }
    }

    #[test]
    fn what_names_no_job_is_refused() {
        for bad in
            ["", "a b", "a*b", "*a", "**", "a/b*", "..", "tag:", "tag:a*b", "parent:", "parent:a b"]
        {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        assert!(
            Pattern::parse(&"x".repeat(128)).is_ok() && Pattern::parse(&"x".repeat(129)).is_err()
        );
        let long = format!("tag:{}", "x".repeat(65));
        assert!(Pattern::parse(&long[..68]).is_ok() && Pattern::parse(&long).is_err());
        let error = Pattern::parse("tag:").unwrap_err().to_string();
        assert_eq!(error, r#"the pattern "tag:": a tag has 1 to 64 bytes"#);
    }

    #[test]
    fn one_pattern_covers_another() {
        let covers = |one: &str, other: &str| {
            Pattern::parse(one).unwrap().covers(&Pattern::parse(other).unwrap())
        };
        assert!(covers("*", "a*") && covers("a*", "a*") && covers("a*", "ab") && covers("a", "a"));
        assert!(covers("*", "tag:a") && covers("tag:*", "tag:a") && !covers("tag:*", "parent:a"));
        assert!(!covers("a", "a*") && !covers("ab*", "a*") && !covers("b*", "a"));
    }
}
