//! What a watcher was shown, and what it must have been shown.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use milepost_protocol::{Position, State};

use tokio::time::Instant;

use crate::redis::{Folded, number};

/// All that one watcher was shown, in order.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) watcher: usize,
    pub(crate) job: String,
    begun: Instant,
    shown: Vec<Shown>,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    position: Position,
    number: u64,
    is_end: bool,
    attempt: u32,
    /// In simulated time.
    at: Duration,
}

/// What is known of a job when all has come to rest.
pub(crate) struct Truth<'a> {
    /// Every state, in the order in which it was folded.
    pub(crate) folded: &'a [Folded],
    /// The highest number that was acknowledged to its worker.
    pub(crate) acknowledged: u64,
    /// Whether Redis lost data meanwhile.
    pub(crate) has_lost_data: bool,
    /// Whether Redis lost the job's end, which is not reported again.
    pub(crate) has_lost_end: bool,
}

impl Sight {
    /// Nothing yet, by a watcher of that job; simulated time began at `begun`.
    pub(crate) fn new(watcher: usize, job: String, begun: Instant) -> Self {
        Self { watcher, job, begun, shown: Vec::new() }
    }

    pub(crate) fn show(&mut self, state: &State) {
        self.shown.push(Shown {
            position: state.position(),
            number: number(state),
            is_end: state.status().is_end(),
            attempt: state.attempt(),
            at: self.begun.elapsed(),
        });
    }

    pub(crate) fn states(&self) -> usize {
        self.shown.len()
    }

    /// Mixes all that was shown into `digest`.
    pub(crate) fn digest(&self, digest: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        digest.hash(&mut hasher);
        for Shown { position, number, at, .. } in &self.shown {
            (position.epoch.0, position.number, number, at).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Everything that is not as it has to be.
    pub(crate) fn wrongs(&self, truth: &Truth<'_>) -> Vec<String> {
        let mut wrongs = Vec::new();
        let mut say = |what: String| {
            wrongs.push(format!("watcher {} of {}: {what}", self.watcher, self.job));
        };
        let place = |shown: &Shown| {
            truth.folded.iter().position(|folded| {
                folded.position == shown.position && folded.number == shown.number
            })
        };
        let places: Vec<Option<usize>> = self.shown.iter().map(place).collect();
        for (shown, place) in self.shown.iter().zip(&places) {
            if place.is_none() {
                say(format!("{shown:?} was never a state of the job"));
            }
        }
        for (pair, places) in self.shown.windows(2).zip(places.windows(2)) {
            if places[1] <= places[0] {
                say(format!("a step back: {:?} after {:?}", pair[1], pair[0]));
            }
            if pair[0].is_end && pair[1].attempt <= pair[0].attempt && !truth.has_lost_data {
                say(format!("{:?} after the end {:?}", pair[1], pair[0]));
            }
            // The same report may have been sent again, because its answer was lost.
            if pair[1].number < pair[0].number && !truth.has_lost_data {
                say(format!("an older report after a newer one: {:?}, {:?}", pair[0], pair[1]));
            }
        }
        let newest = truth.folded.last();
        let last = self.shown.last();
        if !truth.has_lost_end
            && last.map(|last| last.position) != newest.map(|newest| newest.position)
        {
            say(format!("the newest is {newest:?}; shown is {last:?}"));
        }
        if !truth.has_lost_data {
            let first = places.first().copied().flatten().unwrap_or(0);
            for (place, end) in truth.folded.iter().enumerate().filter(|(_, folded)| folded.is_end)
            {
                if place >= first && !places.contains(&Some(place)) {
                    say(format!("the end {end:?} was not shown"));
                }
            }
            let kept = truth.folded.iter().any(|folded| folded.number == truth.acknowledged);
            if !kept {
                say(format!("report {} was acknowledged, and not kept", truth.acknowledged));
            }
        }
        wrongs
    }
}
