//! A job's children, as its state shows them: `spec/README.md`, section 18.

use std::fmt::{self, Write as _};

use crate::estimate::{self, Moment, Reported};
use crate::json::{Ratio, number, text};
use crate::pace::Pace;
use crate::{
    Attribute, Children, Health, InvalidUpdate, JobId, Position, State, Status, Timestamp,
};

/// The most children that count towards one parent. Further ones are jobs like any other, but are not counted.
pub const MAX_CHILDREN: usize = 100_000;

/// The most levels of jobs: a job without a parent is the first.
pub const MAX_LEVELS: usize = 8;

/// What a child counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildStatus {
    /// It waits.
    Queued,
    /// It runs.
    Processing,
    /// It has completed.
    Completed,
    /// It has failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It has not ended, and its worker is silent, or it was forgotten.
    Lost,
}

impl ChildStatus {
    const ALL: [Self; 6] = [
        Self::Queued,
        Self::Processing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Its name in `children`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What its parent keeps of a child. Absolute: it replaces what was kept before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChildSummary {
    /// What it counts as.
    pub status: ChildStatus,
    /// How far it is, 0…1: 1 once it has ended, 0 while that is not known.
    pub progress: f64,
    /// How much of its parent it is.
    pub weight: f64,
    /// Its attempt.
    pub attempt: u32,
    /// Of the state that this is a summary of.
    pub position: Position,
}

impl ChildSummary {
    /// The summary of a job in this state.
    pub fn of(state: &State) -> Self {
        let status = match state.status() {
            Status::Completed => ChildStatus::Completed,
            Status::Failed => ChildStatus::Failed,
            Status::Cancelled => ChildStatus::Cancelled,
            _ if state.health() == Some(Health::Lost) => ChildStatus::Lost,
            Status::Queued => ChildStatus::Queued,
            Status::Processing => ChildStatus::Processing,
        };
        let progress = state.progress_json().and_then(number).unwrap_or(0.0);
        let weight = state.attribute(Attribute::Weight).and_then(number).unwrap_or(1.0);
        Self {
            status,
            progress: if status.is_end() { 1.0 } else { progress.clamp(0.0, 1.0) },
            weight,
            attempt: state.attempt(),
            position: state.position(),
        }
    }

    /// The same of a job that is forgotten: one that had not ended counts as lost.
    #[must_use]
    pub fn forgotten(self) -> Self {
        let status = if self.status.is_end() { self.status } else { ChildStatus::Lost };
        Self { status, ..self }
    }

    /// Whether this takes the place of `kept`, a summary of the same child.
    pub fn is_newer_than(&self, kept: &Self) -> bool {
        self.attempt > kept.attempt
            || self.attempt == kept.attempt && self.position.is_newer_than(kept.position, None)
    }
}

/// The children of a job, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChildTotals {
    /// How many count as what, in the order of [`ChildStatus::ALL`].
    counts: [u32; 6],
    weight: f64,
    done: f64,
    /// Whether there are children that are not counted.
    pub incomplete: bool,
}

impl ChildTotals {
    /// Counts a child.
    ///
    /// Invariant: the same operations on doubles, in the same order, as in `children.lua`.
    pub fn add(&mut self, child: &ChildSummary) {
        self.counts[child.status as usize] += 1;
        self.weight += child.weight;
        self.done += child.weight * child.progress;
    }

    /// Counts a child no longer.
    pub fn remove(&mut self, child: &ChildSummary) {
        self.counts[child.status as usize] -= 1;
        self.weight -= child.weight;
        self.done -= child.weight * child.progress;
    }

    /// How many children are counted.
    pub fn known(&self) -> u32 {
        self.counts.iter().sum()
    }

    fn count(&self, status: ChildStatus) -> u32 {
        self.counts[status as usize]
    }

    fn ended(&self) -> u32 {
        ChildStatus::ALL.into_iter().filter(|status| status.is_end()).map(|s| self.count(s)).sum()
    }

    /// How many children there are going to be, if the job says so, or else are known.
    fn expected(&self, parent: &State) -> u32 {
        let said = parent.attribute(Attribute::ChildrenExpected);
        said.and_then(|said| said.parse().ok()).unwrap_or(0).max(self.known())
    }

    /// The progress of a job with these children. Those that are expected and not known yet count as children of weight 1
    /// that have not begun.
    fn progress(&self, expected: u32) -> Option<f64> {
        if expected == 0 {
            return None;
        }
        if self.ended() == expected {
            return Some(1.0);
        }
        let weight = self.weight + f64::from(expected - self.known());
        (weight > 0.0 && weight.is_finite()).then(|| self.done / weight)
    }
}

impl crate::Update {
    /// The job that the update makes its own job's parent.
    pub fn parent(&self) -> Option<JobId> {
        let mut attributes = self.attributes();
        let (_, id) = attributes.find(|(attribute, _)| *attribute == Attribute::ParentId)?;
        JobId::parse(&text(id)?).ok()
    }
}

impl State {
    /// The job that this one is a child of.
    pub fn parent(&self) -> Option<JobId> {
        let id = text(self.attribute(Attribute::ParentId)?)?;
        JobId::parse(&id).ok()
    }

    /// The job's children as JSON, if it has had any in this attempt.
    pub fn children(&self) -> Option<&str> {
        self.layout.children.get(&self.json)
    }

    /// The progress, if it is that of the job's children.
    pub(crate) fn progress_of_children(&self) -> Option<&str> {
        let is_theirs = self.children().is_some_and(has_progress);
        self.layout.progress.get(&self.json).filter(|_| is_theirs)
    }

    /// The end of a job that ends with its children ([`Attribute::CompleteWhen`]), once all of those expected have ended.
    pub fn end_with_children(&self) -> Option<crate::Update> {
        self.attribute(Attribute::CompleteWhen)?;
        let children = self.view().children?;
        let expected = children.expected;
        if self.status.is_end() || expected == 0 || children.ended() < expected {
            return None;
        }
        let Children { failed, cancelled, .. } = children;
        let attempt = self.attempt;
        let json = if failed > 0 {
            let error = format!("{failed} of {expected} children failed");
            format!(
                r#"{{"status":"failed","attempt":{attempt},"message":"Error: {error}","error":"{error}"}}"#
            )
        } else if cancelled > 0 {
            let message = format!("{cancelled} of {expected} children were cancelled");
            format!(r#"{{"status":"cancelled","attempt":{attempt},"message":"{message}"}}"#)
        } else {
            let message = format!("All {expected} children have completed");
            format!(r#"{{"status":"completed","attempt":{attempt},"message":"{message}"}}"#)
        };
        crate::Update::parse(Some(&self.job), json.as_bytes()).ok()
    }

    /// The progress, if it stands among the last fields: that of the job's children, or null.
    pub(crate) fn last_progress(&self) -> Option<&str> {
        let progress = self.layout.progress.get(&self.json)?;
        // In states of older versions null stands elsewhere.
        let (_, after) = self.layout.progress.around(&self.json)?;
        let is_last = after.starts_with(",\"attempt\":");
        let is_unknown = progress == "null" && is_last;
        (is_unknown || self.progress_of_children().is_some()).then_some(progress)
    }

    /// The state with these children, and with their progress unless the job's worker has reported one. None if nothing
    /// changes.
    ///
    /// `previous` is the state in the same attempt whose estimate the new one's follows: the one before, if an update has just led
    /// to this one, and this one itself otherwise.
    #[must_use]
    pub fn with_children(
        &self,
        previous: Option<&Self>,
        totals: &ChildTotals,
        position: Position,
        now: Timestamp,
    ) -> Option<Self> {
        let before = self.progress_json();
        let follows = before.is_none() || self.last_progress().is_some();
        let expected = totals.expected(self);
        let progress = totals.progress(expected).filter(|_| follows);
        let progress = progress.map(|progress| Ratio(progress).to_string());
        let mut children = format!("{{\"expected\":{expected}");
        for status in ChildStatus::ALL {
            // Writing into a String cannot fail.
            let _ = write!(children, ",\"{}\":{}", status.as_str(), totals.count(status));
        }
        if totals.incomplete {
            children.push_str(",\"incomplete\":true");
        }
        if let Some(progress) = &progress {
            let _ = write!(children, "{PROGRESS}{progress}");
        }
        children.push('}');
        if self.children() == Some(&children) {
            return None;
        }
        let has_progressed = progress.is_some() && progress.as_deref() != before;
        let (mut json, pace) = if has_progressed && !self.status.is_end() {
            self.progressed_head(previous, progress.as_deref(), now)
        } else {
            (self.json[..self.tail_start()].to_owned(), self.pace.clone())
        };
        if let Some(requested) = self.requested() {
            let _ = write!(json, ",\"requested\":{requested}");
        }
        let _ = write!(json, ",\"children\":{children}");
        let unknown = self.last_progress().filter(|progress| *progress == "null");
        if let Some(progress) = progress.as_deref().or(unknown) {
            let _ = write!(json, "{PROGRESS}{progress}");
        }
        let _ = write!(json, ",\"attempt\":{},\"position\":\"{position}\"}}", self.attempt);
        let state = Self::parse(&json).ok()?;
        Some(Self { pace, ..state }.with_usual_of(self))
    }

    /// The JSON before what was requested, the children, the attempt and the position, of a job that progresses with its children
    /// now: it is not stalled, and its estimate follows.
    fn progressed_head(
        &self,
        previous: Option<&Self>,
        progress: Option<&str>,
        now: Timestamp,
    ) -> (String, Option<Box<Pace>>) {
        let head = &self.json[..self.tail_start()];
        let reported = Reported::of(&format!("{head}}}"));
        let estimate = Moment {
            previous,
            progress,
            now,
            is_running: self.status == Status::Processing && !reported.paused && !self.is_lost(),
            was_lost: previous.is_some_and(Self::is_lost),
            usual: self.layout.usual.as_deref(),
            started_at: self.layout.started_at.get(&self.json),
            paused: self.paused_millis(),
        }
        .estimate();
        let Some((before, after)) = self.layout.progressed_at.around(head) else {
            return (head.to_owned(), estimate.pace);
        };
        let mut json = format!("{before}\"{}\"", now.with_millis());
        let rest = estimate::strip(after);
        if rest.is_some() || !reported.has_estimate() {
            estimate.push_to(&mut json);
        }
        json.push_str(&rest.unwrap_or(after).replacen(
            r#""health":"stalled""#,
            r#""health":"ok""#,
            1,
        ));
        (json, estimate.pace)
    }

    /// Where the fields begin that stand last in every state: what was requested, the children with their progress, the attempt
    /// and the position.
    pub(crate) fn tail_start(&self) -> usize {
        let start = |value: &str, name: &str| {
            value.as_ptr().addr() - self.json.as_ptr().addr() - name.len() - ",\"\":".len()
        };
        if let Some(requested) = self.requested() {
            start(requested, "requested")
        } else if let Some(children) = self.children() {
            start(children, "children")
        } else if let Some(progress) = self.last_progress() {
            start(progress, "progress")
        } else {
            self.json.rfind(",\"attempt\":").unwrap_or(self.json.len())
        }
    }
}

/// What stands before the children's progress, where the parent follows it.
pub(crate) const PROGRESS: &str = ",\"progress\":";

fn has_progress(children: &str) -> bool {
    children.contains(PROGRESS)
}

/// The children of a job that has a progress of its own.
pub(crate) fn without_progress(children: &str) -> String {
    match children.split_once(PROGRESS) {
        Some((counts, _)) => format!("{counts}}}"),
        None => children.to_owned(),
    }
}

/// Why a job cannot be a child of the parent that its worker names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidParent {
    /// The parent is the job itself, or a descendant of it.
    Cycle {
        /// The parent.
        parent: JobId,
    },
    /// The job would be on a level beyond [`MAX_LEVELS`].
    TooDeep {
        /// The parent.
        parent: JobId,
    },
}

impl fmt::Display for InvalidParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle { parent } => {
                write!(f, "is {parent}, which is this job or a descendant of it: a cycle")
            }
            Self::TooDeep { parent } => {
                write!(f, "is {parent}, which is on level {MAX_LEVELS}: the last that there may be")
            }
        }
    }
}

impl std::error::Error for InvalidParent {}

impl From<InvalidParent> for InvalidUpdate {
    fn from(invalid: InvalidParent) -> Self {
        Self::field("parent_id", invalid.to_string())
    }
}

/// A walk from a job's future parent to the root: whether the job may become its child.
#[derive(Debug)]
pub struct Ancestors<'a> {
    job: &'a JobId,
    parent: JobId,
    next: JobId,
    /// The level of the job, if `next` is a root.
    levels: usize,
}

impl<'a> Ancestors<'a> {
    /// Of a job that names this parent.
    ///
    /// # Errors
    /// If it is the job itself.
    pub fn new(job: &'a JobId, parent: JobId) -> Result<Self, InvalidParent> {
        if *job == parent {
            return Err(InvalidParent::Cycle { parent });
        }
        Ok(Self { job, next: parent.clone(), parent, levels: 2 })
    }

    /// The ancestor to look at.
    pub fn next(&self) -> &JobId {
        &self.next
    }

    /// That ancestor has this parent. Whether there is another one to look at.
    ///
    /// # Errors
    /// If the job cannot be a child of its parent.
    pub fn step(&mut self, its_parent: Option<JobId>) -> Result<bool, InvalidParent> {
        let Some(its_parent) = its_parent else { return Ok(false) };
        if its_parent == *self.job {
            return Err(InvalidParent::Cycle { parent: self.parent.clone() });
        }
        self.levels += 1;
        if self.levels > MAX_LEVELS {
            return Err(InvalidParent::TooDeep { parent: self.parent.clone() });
        }
        self.next = its_parent;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Fold, Origin, Update, fold};

    const EPOCH: Epoch = Epoch(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
    }

    fn after(previous: Option<&State>, update: &str, second: i64) -> State {
        let job = JobId::parse("a").unwrap();
        let update = Update::parse(Some(&job), update.as_bytes()).unwrap();
        match fold(previous, &update, Origin::Report, EPOCH, at(second)).unwrap() {
            Fold::New(state) => state,
            Fold::Repeated => panic!("repeated"),
        }
    }

    fn totals(children: &[(ChildStatus, f64, f64)]) -> ChildTotals {
        let mut totals = ChildTotals::default();
        for (status, progress, weight) in children {
            let position = Position { epoch: EPOCH, number: 1 };
            let (status, progress, weight) = (*status, *progress, *weight);
            totals.add(&ChildSummary { status, progress, weight, attempt: 1, position });
        }
        totals
    }

    fn rolled(previous: &State, totals: &ChildTotals, second: i64) -> State {
        let position = previous.position().next();
        let next = previous.with_children(Some(previous), totals, position, at(second));
        let next = next.expect("something changes");
        assert_eq!(State::parse(next.json()).unwrap(), next);
        next
    }

    #[test]
    fn a_parent_progresses_with_its_children() {
        let parent = after(None, r#"{"children_expected":4,"stall_after":5}"#, 0);
        let two =
            totals(&[(ChildStatus::Completed, 1.0, 2.0), (ChildStatus::Processing, 0.5, 1.0)]);
        let first = rolled(&parent, &two, 1);
        let tail = concat!(
            r#","children":{"expected":4,"queued":0,"processing":1,"completed":1,"failed":0,"#,
            r#""cancelled":0,"lost":0,"progress":0.5},"progress":0.5,"attempt":1,"position":"1-2"}"#
        );
        assert!(first.json().ends_with(tail), "{}", first.json());
        assert_eq!(first.progressed_at(), Some(r#""2023-11-14T22:13:21.000Z""#));
        assert_eq!(first.with_children(Some(&first), &two, first.position().next(), at(9)), None);
        // A report without progress keeps it; neither is progress.
        let next = after(Some(&first), r#"{"message":"m"}"#, 3);
        assert_eq!(
            (next.view().progress, next.progressed_at()),
            (Some(0.5), first.progressed_at())
        );
        assert_eq!(next.children(), first.children());
        // The progress of the worker takes its place for the rest of the attempt.
        let own = after(Some(&next), r#"{"progress":0.25}"#, 4);
        assert_eq!(own.view().children.unwrap().progress, None);
        let carried = after(Some(&own), "{}", 5);
        let more = rolled(&carried, &totals(&[(ChildStatus::Failed, 1.0, 1.0)]), 6);
        assert_eq!(more.view().progress, Some(0.25));
        assert_eq!(more.progressed_at(), own.progressed_at());
        assert_eq!(after(Some(&more), r#"{"attempt":2}"#, 7).children(), None);
    }

    #[test]
    fn a_parent_whose_progress_is_not_known_follows_its_children() {
        let parent = after(None, r#"{"progress":null}"#, 0);
        assert!(parent.json().ends_with(r#","progress":null,"attempt":1,"position":"1-1"}"#));
        let half = totals(&[(ChildStatus::Processing, 0.5, 1.0)]);
        let state = rolled(&parent, &half, 1);
        assert_eq!(state.json().matches(r#","progress":0.5,"attempt""#).count(), 1);
        let next = after(Some(&state), r#"{"progress":null,"message":"m"}"#, 2);
        assert_eq!(
            (next.view().progress, next.progressed_at()),
            (Some(0.5), state.progressed_at())
        );
        let failed = after(Some(&next), r#"{"status":"failed","progress":null}"#, 3);
        assert_eq!(failed.view().progress, Some(0.5));
        // As an older version wrote it.
        let older = parent.json().replacen(r#","progress":null"#, "", 1);
        let older = older.replacen(r#","stage""#, r#","progress":null,"stage""#, 1);
        let older = rolled(&State::parse(&older).unwrap(), &half, 1);
        assert_eq!((older.view().progress, older.children().is_some()), (None, true));
    }

    #[test]
    fn progress_of_children_ends_a_standstill() {
        let parent = after(None, r#"{"stall_after":5}"#, 0);
        let stalled = parent.with_health(Health::Stalled, EPOCH).unwrap();
        let state = rolled(&stalled, &totals(&[(ChildStatus::Queued, 0.0, 1.0)]), 6);
        assert_eq!((state.health(), state.view().progress), (Some(Health::Ok), Some(0.0)));
        let stalled = state.with_health(Health::Stalled, EPOCH).unwrap();
        let state = rolled(&stalled, &totals(&[(ChildStatus::Lost, 0.0, 1.0)]), 12);
        assert_eq!(state.health(), Some(Health::Stalled), "nothing has progressed");
    }

    #[test]
    fn ends_and_requests_keep_the_children() {
        let parent = after(None, r#"{"cancellable":true}"#, 0);
        let state = rolled(&parent, &totals(&[(ChildStatus::Completed, 1.0, 1.0)]), 1);
        let cancel = crate::Request { action: crate::Action::Cancel, by: None, reason: None };
        let requested = crate::request(Some(&state), &cancel, EPOCH, at(2)).unwrap();
        let Fold::New(requested) = requested else { panic!("repeated") };
        assert_eq!(State::parse(requested.json()).unwrap(), requested);
        assert_eq!(requested.children(), state.children());
        let end = after(Some(&requested), r#"{"status":"cancelled"}"#, 3);
        assert_eq!((end.children(), end.view().progress), (state.children(), Some(1.0)));
        let end = after(Some(&requested), r#"{"status":"completed"}"#, 3);
        assert_eq!(end.view().children.unwrap().completed, 1);
        assert_eq!(end.json().matches(r#""progress":1.0"#).count(), 1);
    }

    #[test]
    fn a_job_may_end_with_its_children() {
        let parent = after(None, r#"{"complete_when":"all_ended","children_expected":2}"#, 0);
        let one = (ChildStatus::Completed, 1.0, 1.0);
        let end = |children: &[_]| rolled(&parent, &totals(children), 1).end_with_children();
        assert_eq!(end(&[one]), None);
        let cancelled = end(&[one, (ChildStatus::Cancelled, 1.0, 1.0)]).unwrap();
        assert_eq!(cancelled.status(), Status::Cancelled);
        let failed = end(&[one, (ChildStatus::Failed, 1.0, 1.0)]).unwrap();
        assert!(failed.fields().contains("1 of 2 children failed"), "{}", failed.fields());
        assert_eq!(end(&[one, one]).unwrap().status(), Status::Completed);
        let plain = rolled(&after(None, "{}", 0), &totals(&[one]), 1);
        assert_eq!(plain.end_with_children(), None);
    }

    #[test]
    fn cycles_and_deep_trees_are_refused() {
        let id = |id: &str| JobId::parse(id).unwrap();
        let job = id("a");
        let cycle = |parent| InvalidParent::Cycle { parent: id(parent) };
        assert_eq!(Ancestors::new(&job, id("a")).unwrap_err(), cycle("a"));
        let mut walk = Ancestors::new(&job, id("b")).unwrap();
        assert_eq!(walk.step(Some(id("c"))), Ok(true));
        assert_eq!(walk.next(), &id("c"));
        assert_eq!(walk.step(Some(id("a"))), Err(cycle("b")));
        let mut walk = Ancestors::new(&job, id("b")).unwrap();
        for level in 3..=MAX_LEVELS {
            assert_eq!(walk.step(Some(id(&format!("l{level}")))), Ok(true));
        }
        assert_eq!(walk.step(None), Ok(false));
        assert_eq!(walk.step(Some(id("x"))), Err(InvalidParent::TooDeep { parent: id("b") }));
    }
}
