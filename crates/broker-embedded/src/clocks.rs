//! The clocks by which a job's health changes: `spec/README.md`, section 3.

use std::sync::Arc;
use std::time::Duration;

use milepost_broker::Workers;
use milepost_protocol::{Health, Origin, Patience, State, Update, fold};

use crate::job::{Clocks, Counted};
use crate::jobs::Key;
use crate::stripe::{Queue, Room, SharedParts, Stripe, millis};

/// A lost job that is held is looked at again after this time, in milliseconds.
const HELD: u64 = 10_000;

/// What a look at all clocks knows.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    /// No clock counts from before: then the process was not there to hear, or nobody could be heard.
    pub(crate) from: u64,
    /// Whether most workers are silent at once, so that none of them is lost.
    pub(crate) holds: bool,
}

impl Stripe {
    /// Records that a job was reported or found on disk: its worker's silence is over, and it may have made progress.
    pub(crate) fn wind(&mut self, key: Key, state: &State, progressed: bool, now: u64) {
        let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else { return };
        let Some(patience) = Patience::of(state) else {
            let clocks = known.clocks.take();
            self.unwind(key, clocks.as_deref());
            return;
        };
        let progressed = match &known.clocks {
            Some(clocks) if !progressed => clocks.progressed,
            _ => now,
        };
        let (queued, counted) =
            known.clocks.as_ref().map(|clocks| (clocks.queued, clocks.counted)).unwrap_or_default();
        let mut clocks = Clocks { seen: now, progressed, queued, counted };
        // A job that was found on disk may be lost already.
        let may_be_lost = patience.silent_after().is_some() && state.health() != Some(Health::Lost);
        let counted = if may_be_lost { Counted::Heard } else { Counted::Not };
        count(&mut self.workers, &mut clocks, counted);
        queue(&mut self.clocks, key, &mut clocks, patience, state);
        known.clocks = Some(Box::new(clocks));
    }

    /// Records that a job has progressed with its children. Its worker's silence goes on.
    pub(crate) fn wind_progress(&mut self, key: Key, state: &State, now: u64) {
        let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else { return };
        let Some((clocks, patience)) = known.clocks.as_mut().zip(Patience::of(state)) else {
            return;
        };
        clocks.progressed = now;
        queue(&mut self.clocks, key, clocks, patience, state);
    }

    /// Removes the clocks of a forgotten job.
    pub(crate) fn unwind(&mut self, key: Key, clocks: Option<&Clocks>) {
        let Some(clocks) = clocks else { return };
        if let Some(queued) = clocks.queued {
            self.clocks.remove(&(queued, key));
        }
        let mut gone = *clocks;
        count(&mut self.workers, &mut gone, Counted::Not);
    }

    /// Changes the health of jobs that are due, or ends them, a slice at a time. Returns true if there may be more. `held` becomes
    /// true if one was held back.
    pub(crate) fn check_clocks(
        &mut self,
        most: usize,
        look: Look,
        held: &mut bool,
        shared: SharedParts<'_>,
    ) -> bool {
        let now = millis(shared.elapsed);
        for _ in 0..most {
            let Some(&(at, key)) = self.clocks.first().filter(|(at, _)| *at <= now) else {
                return false;
            };
            self.clocks.remove(&(at, key));
            *held |= self.check_clock(key, look, now, shared);
        }
        true
    }

    /// Returns whether the job is held back from being lost, or from its end.
    fn check_clock(&mut self, key: Key, look: Look, now: u64, shared: SharedParts<'_>) -> bool {
        let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else {
            return false;
        };
        let Some(clocks) = &mut known.clocks else { return false };
        clocks.queued = None;
        clocks.seen = clocks.seen.max(look.from);
        clocks.progressed = clocks.progressed.max(look.from);
        let Some(patience) = Patience::of(&known.state) else {
            count(&mut self.workers, clocks, Counted::Not);
            return false;
        };
        let since = |moment: u64| Duration::from_millis(now.saturating_sub(moment));
        let silence = since(clocks.seen);
        let health = patience.health(silence, since(clocks.progressed));
        let is_worse = known.state.health().is_some_and(|present| health > present);
        let (ending, becomes_lost) = (patience.ending(silence), is_worse && health == Health::Lost);
        if clocks.counted != Counted::Not {
            let is_silent = patience.silent_after().is_some_and(|most| silence >= most);
            let counted = if is_silent { Counted::Silent } else { Counted::Heard };
            count(&mut self.workers, clocks, counted);
        }
        if look.holds && (becomes_lost || ending.is_some()) {
            clocks.queued = Some(now + HELD);
            self.clocks.insert((now + HELD, key));
            return true;
        }
        if let Some(silence) = ending {
            let end = Update::end_of_lost(known.state.job(), known.state.attempt(), silence);
            self.end_known(&end, shared);
            return false;
        }
        let changed = is_worse.then(|| known.state.with_health(health, known.epoch)).flatten();
        if becomes_lost {
            count(&mut self.workers, clocks, Counted::Not);
        }
        let present = changed.as_ref().unwrap_or(&known.state);
        clocks.queued = next_look(patience, present, clocks);
        if let Some(next) = clocks.queued {
            self.clocks.insert((next, key));
        }
        if let Some(state) = changed {
            self.show(key, &Arc::new(state), shared);
        }
        false
    }

    /// Ends a job on its worker's behalf. The job is known and runs, so neither the fold nor a bound rejects the end.
    pub(crate) fn end_known(&mut self, end: &Update, shared: SharedParts<'_>) {
        let next =
            |previous: Option<&State>, epoch, now| fold(previous, end, Origin::Report, epoch, now);
        let birth = || unreachable!("the job is known");
        let folded = self.fold(end.job(), next, shared, Room::BeyondBound, true, birth);
        debug_assert!(folded.is_ok(), "the end of a known job is folded");
    }
}

/// Invariant: a job is queued under a time that is not later than its next change. So an update that postpones the change does
/// not touch the queue.
fn queue(queue: &mut Queue, key: Key, clocks: &mut Clocks, patience: Patience, state: &State) {
    let Some(next) = next_look(patience, state, clocks) else { return };
    if clocks.queued.is_some_and(|queued| queued <= next) {
        return;
    }
    if let Some(queued) = clocks.queued.replace(next) {
        queue.remove(&(queued, key));
    }
    queue.insert((next, key));
}

/// When the job's health may change, the job may end, or its worker may count as silent.
fn next_look(patience: Patience, state: &State, clocks: &Clocks) -> Option<u64> {
    let [seen, progressed] = [clocks.seen, clocks.progressed].map(Duration::from_millis);
    let change = patience.next_change(state.health()?, seen, progressed);
    let silent = patience.silent_after().filter(|_| clocks.counted == Counted::Heard);
    change.into_iter().chain(silent.map(|most| seen + most)).min().map(millis)
}

/// Changes how a job counts among the workers.
fn count(workers: &mut Workers, clocks: &mut Clocks, counted: Counted) {
    let of = |counted| Workers {
        known: usize::from(counted != Counted::Not),
        silent: usize::from(counted == Counted::Silent),
    };
    let (before, now) = (of(std::mem::replace(&mut clocks.counted, counted)), of(counted));
    workers.known = workers.known + now.known - before.known;
    workers.silent = workers.silent + now.silent - before.silent;
}
