use std::sync::Arc;

use milepost_protocol::{Attribute, Health, State, Status};

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobsQuery {
    /// Only jobs with one of these statuses; all if empty.
    pub statuses: Vec<Status>,
    /// Only jobs with one of these healths; all if empty. One that ended has none.
    pub healths: Vec<Health>,
    /// Only jobs whose id begins so.
    pub prefix: String,
    /// Only jobs with all of these attributes.
    pub keywords: Vec<Keyword>,
    /// Only jobs that have this text in their id, name or tags, whatever its case; all if empty.
    pub text: String,
    /// The most jobs to return.
    pub limit: usize,
    /// Those after the page whose [`Jobs::next`] this was.
    pub after: Option<u64>,
}

/// The most jobs that a broker considers for one page. If few of them match, the page is short, and has a `next`: whoever
/// lists many jobs costs others little, whatever is asked for.
pub const MAX_CONSIDERED: usize = 10_000;

/// A page of jobs.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    /// Their present states, the most recently begun first. Fewer than the limit, or none, does not mean that it is the last
    /// page.
    pub states: Vec<Arc<State>>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<u64>,
    /// How many jobs are known, whether they match or not.
    pub total: usize,
    /// How many jobs were considered that do not match.
    pub unmatched: usize,
}

/// An attribute that jobs are found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keyword {
    /// The job's name is this.
    Name(Box<str>),
    /// One of its tags is this.
    Tag(Box<str>),
    /// The id of its parent is this.
    Parent(Box<str>),
}

impl Keyword {
    /// All that a job is found by. Empty for one without such attributes, at no cost.
    pub fn all_of(state: &State) -> Vec<Self> {
        let texts = |attribute| state.texts(attribute).into_iter();
        let names = texts(Attribute::Name).map(Self::Name);
        let tags = texts(Attribute::Tags).map(Self::Tag);
        names.chain(tags).chain(texts(Attribute::ParentId).map(Self::Parent)).collect()
    }

    /// Whether two states are found by the same attributes, written the same. Costs next to nothing.
    pub fn are_same(one: &State, other: &State) -> bool {
        [Attribute::Name, Attribute::Tags, Attribute::ParentId]
            .into_iter()
            .all(|attribute| one.attribute(attribute) == other.attribute(attribute))
    }

    fn text(&self) -> &str {
        let (Self::Name(text) | Self::Tag(text) | Self::Parent(text)) = self;
        text
    }
}

impl JobsQuery {
    /// Whether a job in this state is wanted.
    pub fn matches(&self, state: &State) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&state.status()))
            && state.job().as_str().starts_with(&self.prefix)
            && self.matches_health(state)
            && self.matches_attributes(state)
    }

    fn matches_health(&self, state: &State) -> bool {
        // Of whom nobody says how often it reports, nothing is wrong.
        let health = state.health().unwrap_or(Health::Ok);
        self.healths.is_empty() || (!state.status().is_end() && self.healths.contains(&health))
    }

    fn matches_attributes(&self, state: &State) -> bool {
        if self.keywords.is_empty() && self.text.is_empty() {
            return true;
        }
        let has = Keyword::all_of(state);
        if !self.keywords.iter().all(|keyword| has.contains(keyword)) {
            return false;
        }
        let wanted = self.text.to_lowercase();
        let texts = has.iter().filter(|keyword| !matches!(keyword, Keyword::Parent(_)));
        let mut texts = texts.map(Keyword::text).chain([state.job().as_str()]);
        wanted.is_empty() || texts.any(|text| text.to_lowercase().contains(&wanted))
    }
}
