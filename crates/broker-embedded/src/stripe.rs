use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{ChildTotals, Epoch, Fold, JobId, Position, State, Timeline, Timestamp};

use crate::Limits;
use crate::capacity::Capacity;
use crate::families::Families;
use crate::index::Index;
use crate::job::Known;
use crate::jobs::{Jobs, Key};
use crate::logs::Logs;
use crate::names::Names;
use crate::store::{Record, Store};
use milepost_broker::{History, Listener, Workers};

/// The jobs whose ids hash to the same lock.
///
/// Invariant: every known job is in exactly one queue, under the time `Known::queued`, which is not later than its expiry. So an
/// update that extends a job's life does not touch the queues: a job that reaches the front too early is put back under its
/// present expiry.
#[derive(Default)]
pub(crate) struct Stripe {
    pub(crate) jobs: Jobs,
    running: Queue,
    /// The jobs that have ended. They are evicted first when the broker is full.
    ended: Queue,
    /// The known jobs in the order in which they began.
    pub(crate) by_begun: BTreeMap<u64, Key>,
    pub(crate) index: Index,
    /// The jobs whose health changes with time, by the time of their next check.
    pub(crate) clocks: Queue,
    pub(crate) workers: Workers,
}

/// By milliseconds of the clock's `elapsed`.
pub(crate) type Queue = BTreeSet<(u64, Key)>;

/// The parts that the stripes share.
#[derive(Clone, Copy)]
pub(crate) struct SharedParts<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) capacity: &'a Capacity,
    pub(crate) logs: &'a Logs,
    pub(crate) families: &'a Families,
    pub(crate) names: &'a Names,
    pub(crate) store: Option<&'a Store>,
    pub(crate) now: Timestamp,
    pub(crate) elapsed: Duration,
}

impl SharedParts<'_> {
    /// Queues a job's state to be written to the store, if there is one.
    fn save(self, state: &Arc<State>, begun: u64, expires: u64, timeline: Option<Vec<u8>>) {
        let Some(store) = self.store else { return };
        let left = Duration::from_millis(expires.saturating_sub(millis(self.elapsed)));
        let state = Arc::clone(state);
        store.save(Record { state, begun, expires: self.now + left, timeline });
    }
}

pub(crate) struct Folded {
    pub(crate) state: Arc<State>,
    pub(crate) repeated: bool,
}

/// Where room for a new state may come from if the broker is full and there is no ended job to evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Only from free memory.
    Free,
    /// Also from the job's own history.
    OfHistory,
    /// From beyond the bound, for the end of a known job.
    BeyondBound,
}

/// Why a job has no new state.
pub(crate) enum NotFolded<E> {
    Refused(E),
    /// The broker is at its bound; the text names the bound.
    Full(String),
}

/// A job that becomes known, and the epoch of its next state.
pub(crate) struct NewJob {
    pub(crate) state: Arc<State>,
    pub(crate) epoch: Epoch,
    pub(crate) begun: u64,
    pub(crate) expires: u64,
}

impl Stripe {
    /// Puts the job into the state that `next` makes of its present one, if there is room. `heard`: the job's worker reported it,
    /// so its silence is over.
    pub(crate) fn fold<E>(
        &mut self,
        job: &JobId,
        next: impl FnOnce(Option<&State>, Epoch, Timestamp) -> Result<Fold, E>,
        shared: SharedParts<'_>,
        room: Room,
        heard: bool,
        birth: impl FnOnce() -> (Epoch, u64),
    ) -> Result<Folded, NotFolded<E>> {
        let found = self.jobs.find(job);
        let known = found.and_then(|key| self.jobs.get(key)?.known.as_ref());
        let previous = known.map(|known| known.state.as_ref());
        let (epoch, begun) = known.map_or_else(birth, |known| (known.epoch, known.begun));

        let state = match next(previous, epoch, shared.now) {
            Ok(Fold::New(state)) => state,
            Ok(Fold::Repeated) => {
                let known = known.expect("only a known job has a state to repeat");
                return Ok(Folded { state: Arc::clone(&known.state), repeated: true });
            }
            Err(refusal) => return Err(NotFolded::Refused(refusal)),
        };
        let is_retry = previous.is_some_and(|before| before.attempt() != state.attempt());
        let (state, children) = with_children(state, previous, shared);
        let state = self.sharing_id(found, state);
        let replaces = make_room(known, &state, room, shared.capacity).map_err(NotFolded::Full)?;

        if is_retry {
            shared.families.forget(job, shared.capacity);
        } else if let Some(totals) = children {
            shared.families.shown(job, &totals, millis(shared.elapsed));
        }
        let expires = millis(shared.elapsed + shared.limits.ttl_of(&state));
        shared.families.child(previous, &state, expires, shared.capacity);
        let progressed =
            previous.is_none_or(|previous| previous.progressed_at() != state.progressed_at());
        let (key, timeline) = if let Some(key) = found.filter(|_| known.is_some()) {
            let is_noted = heard && !replaces && self.note(key, &state, shared);
            self.advance(key, Arc::clone(&state), expires, replaces, shared);
            let has_changed = is_noted || replaces;
            (key, has_changed.then(|| self.stored_timeline(key, shared)).flatten())
        } else {
            let job = NewJob { state: Arc::clone(&state), epoch, begun, expires };
            // The store may still have a timeline of an earlier life of the job.
            (self.begin(job, None, shared.capacity), Some(Vec::new()))
        };
        shared.save(&state, begun, expires, timeline);
        if heard {
            self.wind(key, &state, progressed, millis(shared.elapsed));
        }
        let timeline = self.jobs.get(key).and_then(|job| job.known.as_ref()?.timeline.as_deref());
        shared.names.ended(&state, timeline, shared.now, shared.store);
        self.notify(key, &state);
        if let Some(end) = state.end_with_children() {
            // All of its children ended before, so no change of theirs will end it.
            self.end_known(&end, shared);
        }
        Ok(Folded { state, repeated: false })
    }

    /// Adds an unknown job that was reported or found on disk.
    pub(crate) fn begin(
        &mut self,
        job: NewJob,
        timeline: Option<Box<Timeline>>,
        capacity: &Capacity,
    ) -> Key {
        let NewJob { state, epoch, begun, expires } = job;
        capacity.add_job();
        capacity.add(&state);
        capacity.add_bytes(state.usual_len());
        if let Some(timeline) = &timeline {
            capacity.add_timeline(timeline);
        }
        let is_end = state.status().is_end();
        self.index.update(begun, None, Some(&state));
        let (key, job) = self.jobs.find_or_insert(state.job());
        let queued = expires;
        let (earlier, clocks) = (None, None);
        job.known = Some(Known { state, earlier, timeline, epoch, begun, expires, queued, clocks });
        self.queue(is_end).insert((expires, key));
        self.by_begun.insert(begun, key);
        key
    }

    /// Makes a state that no update led to the present one, and notifies the listener.
    pub(crate) fn show(&mut self, key: Key, state: &Arc<State>, shared: SharedParts<'_>) {
        let Some(known) = self.jobs.get(key).and_then(|job| job.known.as_ref()) else { return };
        let (begun, expires) = (known.begun, known.expires);
        shared.families.child(Some(&known.state), state, expires, shared.capacity);
        let replaces = shared.capacity.exceeded(false, state, 0).is_some();
        self.advance(key, Arc::clone(state), expires, replaces, shared);
        let timeline = replaces.then(|| self.stored_timeline(key, shared)).flatten();
        shared.save(state, begun, expires, timeline);
        self.notify(key, state);
    }

    /// Shares the id of a job that is watched already, so that it takes memory once.
    fn sharing_id(&self, found: Option<Key>, state: State) -> Arc<State> {
        let watched = found.and_then(|key| self.jobs.get(key)).filter(|job| job.known.is_none());
        Arc::new(match watched {
            Some(job) => state.sharing_id(&job.id),
            None => state,
        })
    }

    fn notify(&self, key: Key, state: &Arc<State>) {
        if let Some(listener) = self.jobs.get(key).and_then(|job| job.listener.as_ref()) {
            listener.update(state);
        }
    }

    /// Shows a job's children in its state, and ends the job if it is to end with them.
    pub(crate) fn roll_up(&mut self, parent: &JobId, shared: SharedParts<'_>) {
        let Some(totals) = shared.families.totals(parent) else { return };
        shared.families.shown(parent, &totals, millis(shared.elapsed));
        let Some(key) = self.jobs.find(parent) else { return };
        let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else { return };
        let present = Arc::clone(&known.state);
        if present.status().is_end() {
            return;
        }
        let position = Position::following(Some(present.position()), known.epoch);
        if let Some(state) = present.with_children(Some(&present), &totals, position, shared.now) {
            // Reports of children extend the life of their parent.
            known.expires =
                known.expires.max(millis(shared.elapsed + shared.limits.ttl_of(&state)));
            if state.progressed_at() != present.progressed_at() {
                self.wind_progress(key, &state, millis(shared.elapsed));
            }
            self.note(key, &state, shared);
            self.show(key, &Arc::new(state), shared);
        }
        if let Some(end) = self.state(parent).and_then(|state| state.end_with_children()) {
            self.end_known(&end, shared);
        }
    }

    /// Makes `state` the present one of a known job.
    fn advance(
        &mut self,
        key: Key,
        state: Arc<State>,
        expires: u64,
        replaces: bool,
        shared: SharedParts<'_>,
    ) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        let Some(known) = &mut job.known else { return };
        let was_end = known.state.status().is_end();
        let is_end = state.status().is_end();
        self.index.update(known.begun, Some(&known.state), Some(&state));
        known.expires = expires;
        if is_end {
            shared.logs.ended(&job.id);
        }
        if was_end != is_end || expires < known.queued {
            let queues = [&mut self.running, &mut self.ended];
            queues[usize::from(was_end)].remove(&(known.queued, key));
            let queues = [&mut self.running, &mut self.ended];
            queues[usize::from(is_end)].insert((expires, key));
            known.queued = expires;
        }
        if replaces {
            known.replace(state, shared.capacity);
        } else {
            known.advance(state, shared.limits, shared.capacity);
        }
    }

    fn queue(&mut self, ended: bool) -> &mut Queue {
        if ended { &mut self.ended } else { &mut self.running }
    }

    fn known(&self, job: &JobId) -> Option<&Known> {
        self.jobs.get(self.jobs.find(job)?)?.known.as_ref()
    }

    pub(crate) fn state(&self, job: &JobId) -> Option<Arc<State>> {
        self.known(job).map(|known| Arc::clone(&known.state))
    }

    pub(crate) fn history(&self, job: &JobId) -> History {
        let Some(known) = self.known(job) else { return History::default() };
        History { states: known.states().cloned().collect(), timeline: known.timeline() }
    }

    /// Adds to a job's timeline what is due when `next` becomes its present state. Returns whether the timeline changed.
    fn note(&mut self, key: Key, next: &State, shared: SharedParts<'_>) -> bool {
        let known = self.jobs.get_mut(key).and_then(|job| job.known.as_mut());
        known.is_some_and(|known| known.note(next, shared.now, shared.capacity))
    }

    /// A job's timeline for the store: empty if it was dropped, and none without a store.
    fn stored_timeline(&self, key: Key, shared: SharedParts<'_>) -> Option<Vec<u8>> {
        shared.store?;
        let known = self.jobs.get(key)?.known.as_ref()?;
        Some(known.timeline.as_ref().map_or_else(Vec::new, |timeline| timeline.encode()))
    }

    pub(crate) fn attach(&mut self, job: &JobId, listener: Arc<dyn Listener>) {
        let known = self.known(job);
        let states: Vec<_> =
            known.map(|known| known.states().cloned().collect()).unwrap_or_default();
        listener.attached(&states);
        self.jobs.find_or_insert(job).1.listener = Some(listener);
    }

    pub(crate) fn detach(&mut self, id: &JobId, listener: &Arc<dyn Listener>) {
        let Some(key) = self.jobs.find(id) else { return };
        let Some(job) = self.jobs.get_mut(key) else { return };
        if job.listener.as_ref().is_some_and(|attached| Arc::ptr_eq(attached, listener)) {
            job.listener = None;
            if job.known.is_none() {
                self.jobs.remove(key);
            }
        }
    }

    pub(crate) fn forget(&mut self, id: &JobId, shared: SharedParts<'_>) -> bool {
        self.jobs.find(id).is_some_and(|key| self.forget_known(key, shared))
    }

    /// Returns false if the job is not known, but only listened to.
    fn forget_known(&mut self, key: Key, shared: SharedParts<'_>) -> bool {
        let Some(job) = self.jobs.get_mut(key) else { return false };
        let Some(known) = job.known.take() else { return false };
        shared.capacity.remove_job();
        shared.logs.forget(&job.id);
        shared.families.forget(&job.id, shared.capacity);
        shared.families.forgotten_child(&known.state);
        known.release(shared.capacity);
        match &job.listener {
            Some(listener) => listener.forgotten(),
            None => self.jobs.remove(key),
        }
        self.queue(known.state.status().is_end()).remove(&(known.queued, key));
        self.by_begun.remove(&known.begun);
        self.index.update(known.begun, Some(&known.state), None);
        self.unwind(key, known.clocks.as_deref());
        if let Some(store) = shared.store {
            store.forget(known.state.job().clone());
        }
        true
    }

    /// Forgets expired jobs, a slice at a time. Returns true if there may be more.
    pub(crate) fn expire(&mut self, mut most: usize, shared: SharedParts<'_>) -> bool {
        let now = millis(shared.elapsed);
        for ended in [false, true] {
            while let Some((time, key)) = self.first(ended)
                && time <= now
            {
                if most == 0 {
                    return true;
                }
                most -= 1;
                self.forget_known(key, shared);
            }
        }
        false
    }

    /// The expiry of the job that would be evicted first.
    pub(crate) fn first_to_evict(&mut self) -> Option<u64> {
        self.first(true).map(|(time, _)| time)
    }

    /// Evicts the ended job that would expire first.
    pub(crate) fn evict(&mut self, shared: SharedParts<'_>) -> bool {
        let Some((_, key)) = self.first(true) else { return false };
        shared.capacity.count_evicted();
        self.forget_known(key, shared)
    }

    /// The job of a queue that expires first, and its expiry.
    fn first(&mut self, ended: bool) -> Option<(u64, Key)> {
        loop {
            let (time, key) = *self.queue(ended).first()?;
            let Some(known) = self.jobs.get_mut(key).and_then(|job| job.known.as_mut()) else {
                unreachable!("a job in a queue is known");
            };
            if known.expires == time {
                return Some((time, key));
            }
            let later = known.expires;
            known.queued = later;
            let queue = self.queue(ended);
            queue.pop_first();
            queue.insert((later, key));
        }
    }
}

/// A job's next state with its children, and their totals if the job has children. Another attempt begins without children. An
/// end shows how many of them have ended.
fn with_children(
    state: State,
    previous: Option<&State>,
    shared: SharedParts<'_>,
) -> (State, Option<ChildTotals>) {
    let is_retry = previous.is_some_and(|before| before.attempt() != state.attempt());
    let totals = shared.families.totals(state.job()).filter(|_| !is_retry);
    let shown = totals
        .as_ref()
        .and_then(|totals| state.with_children(previous, totals, state.position(), shared.now));
    (shown.unwrap_or(state), totals)
}

/// Finds room for a job's next state. Returns whether the job has to give up its history for it.
///
/// # Errors
/// The bound, if there is no room.
fn make_room(
    known: Option<&Known>,
    state: &State,
    room: Room,
    capacity: &Capacity,
) -> Result<bool, String> {
    let Some(bound) = capacity.exceeded(known.is_none(), state, 0) else { return Ok(false) };
    let replaced = known.filter(|_| room != Room::Free);
    let freed = replaced.map_or(0, Known::cost);
    let fits = freed > 0 && capacity.exceeded(false, state, freed).is_none();
    // An end is never rejected. The job can be evicted from now on, so the next end gets its room.
    let may_exceed = room == Room::BeyondBound && known.is_some() && state.status().is_end();
    if fits || may_exceed { Ok(replaced.is_some()) } else { Err(bound) }
}

/// Converts a moment of the clock's `elapsed` to the unit of the queues.
pub(crate) fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
