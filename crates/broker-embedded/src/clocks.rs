//! The clocks by which a job's health changes: `spec/README.md`, section 3.

use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{Origin, Patience, State, Update, fold};

use crate::job::Clocks;
use crate::jobs::Key;
use crate::stripe::{Context, Queue, Room, Stripe, millis};

impl Stripe {
    /// Records that a job was reported or found on disk: its worker's silence is over, and it may have made progress.
    pub(crate) fn wind(&mut self, key: Key, state: &State, progressed: bool, now: u64) {
        let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else { return };
        let Some(patience) = Patience::of(state) else {
            if let Some(queued) = known.clocks.take().and_then(|clocks| clocks.queued) {
                self.clocks.remove(&(queued, key));
            }
            return;
        };
        let progressed = match &known.clocks {
            Some(clocks) if !progressed => clocks.progressed,
            _ => now,
        };
        let queued = known.clocks.as_ref().and_then(|clocks| clocks.queued);
        let mut clocks = Clocks { seen: now, progressed, queued };
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
        if let Some(queued) = clocks.and_then(|clocks| clocks.queued) {
            self.clocks.remove(&(queued, key));
        }
    }

    /// Changes the health of jobs that are due, or ends them, a slice at a time. Returns true if there may be more. Time before
    /// `from` does not count as silence, because the process could not receive reports then.
    pub(crate) fn check_clocks(&mut self, most: usize, from: u64, context: Context<'_>) -> bool {
        let now = millis(context.elapsed);
        for _ in 0..most {
            let Some(&(at, key)) = self.clocks.first().filter(|(at, _)| *at <= now) else {
                return false;
            };
            self.clocks.remove(&(at, key));
            self.check_clock(key, from, now, context);
        }
        true
    }

    fn check_clock(&mut self, key: Key, from: u64, now: u64, context: Context<'_>) {
        let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else { return };
        let Some(clocks) = &mut known.clocks else { return };
        clocks.queued = None;
        clocks.seen = clocks.seen.max(from);
        clocks.progressed = clocks.progressed.max(from);
        let Some(patience) = Patience::of(&known.state) else { return };
        let since = |moment: u64| Duration::from_millis(now.saturating_sub(moment));
        if let Some(silence) = patience.ending(since(clocks.seen)) {
            let end = Update::end_of_lost(known.state.job(), known.state.attempt(), silence);
            self.end_known(&end, context);
            return;
        }
        let health = patience.health(since(clocks.seen), since(clocks.progressed));
        let is_worse = known.state.health().is_some_and(|present| health > present);
        let changed = is_worse.then(|| known.state.with_health(health, known.epoch)).flatten();
        let present = changed.as_ref().unwrap_or(&known.state);
        clocks.queued = next_change(patience, present, clocks);
        if let Some(next) = clocks.queued {
            self.clocks.insert((next, key));
        }
        if let Some(state) = changed {
            self.show(key, &Arc::new(state), context);
        }
    }

    /// Ends a job on its worker's behalf. The job is known and runs, so neither the fold nor a bound rejects the end.
    pub(crate) fn end_known(&mut self, end: &Update, context: Context<'_>) {
        let next =
            |previous: Option<&State>, epoch, now| fold(previous, end, Origin::Report, epoch, now);
        let birth = || unreachable!("the job is known");
        let folded = self.fold(end.job(), next, context, Room::BeyondBound, true, birth);
        debug_assert!(folded.is_ok(), "the end of a known job is folded");
    }
}

/// Invariant: a job is queued under a time that is not later than its next change. So an update that postpones the change does
/// not touch the queue.
fn queue(queue: &mut Queue, key: Key, clocks: &mut Clocks, patience: Patience, state: &State) {
    let Some(next) = next_change(patience, state, clocks) else { return };
    if clocks.queued.is_some_and(|queued| queued <= next) {
        return;
    }
    if let Some(queued) = clocks.queued.replace(next) {
        queue.remove(&(queued, key));
    }
    queue.insert((next, key));
}

fn next_change(patience: Patience, state: &State, clocks: &Clocks) -> Option<u64> {
    let [seen, progressed] = [clocks.seen, clocks.progressed].map(Duration::from_millis);
    patience.next_change(state.health()?, seen, progressed).map(millis)
}
