use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The name of a job, chosen by its worker: 1–128 characters out of `A–Z a–z 0–9 - . _ ~ : @`, but not
/// `.` or `..`, which browsers resolve inside a URL's path. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Arc<str>);

impl JobId {
    /// The longest job id, in characters (which are bytes: the set is ASCII).
    pub const MAX_LEN: usize = 128;

    /// Reads a job id.
    ///
    /// # Errors
    /// When it is empty, too long, `.` or `..`, or has a character outside of the set.
    pub fn parse(text: &str) -> Result<Self, InvalidJobId> {
        if text.is_empty() {
            return Err(InvalidJobId::Empty);
        }
        if let Some(character) = text.chars().find(|&c| !is_allowed(c)) {
            return Err(InvalidJobId::Character(character));
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidJobId::TooLong(text.len()));
        }
        if text == "." || text == ".." {
            return Err(InvalidJobId::Dots);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | ':' | '@')
}

impl FromStr for JobId {
    type Err = InvalidJobId;
    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        Self::parse(text)
    }
}

impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({})", self.0)
    }
}

/// Why a text is not a job id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidJobId {
    /// It has no character.
    Empty,
    /// It has more than [`JobId::MAX_LEN`] characters: so many.
    TooLong(usize),
    /// It has this character, which is not in the set.
    Character(char),
    /// It is `.` or `..`.
    Dots,
}

impl fmt::Display for InvalidJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a job id has at least 1 character"),
            Self::TooLong(len) => {
                write!(f, "a job id has at most {} characters, this one has {len}", JobId::MAX_LEN)
            }
            Self::Character(c) => {
                write!(f, "{c:?} is not allowed in a job id; allowed are A-Z a-z 0-9 - . _ ~ : @")
            }
            Self::Dots => f.write_str("'.' and '..' are not job ids: a URL's path would lose them"),
        }
    }
}

impl std::error::Error for InvalidJobId {}
