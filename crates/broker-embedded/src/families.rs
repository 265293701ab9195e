//! What is kept of jobs' children: `spec/README.md`, section 18.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_protocol::{ChildSummary, ChildTotals, JobId, MAX_CHILDREN, State};
use tokio::sync::Notify;

use crate::capacity::Capacity;

/// The children of all parents, by parent.
///
/// A parent's children may be reported before it is, and outlive their own jobs: they are kept as long as the parent, or as
/// the last of them if there is no such job.
#[derive(Default)]
pub(crate) struct Families {
    inner: Mutex<Inner>,
    /// How many parents there are, so that a broker without children pays nothing.
    count: AtomicUsize,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    families: HashMap<JobId, Family>,
    /// Those whose parent has not been shown their latest totals.
    changed: HashSet<JobId>,
}

#[derive(Default)]
struct Family {
    children: HashMap<JobId, ChildSummary>,
    totals: ChildTotals,
    /// When they were shown last, in milliseconds of the clock's `elapsed`.
    shown: Option<u64>,
    /// Until when they are kept at least, in the same unit.
    expires: u64,
}

/// The shortest time between two states of a parent that its children lead to, in milliseconds.
pub(crate) const ROLL_UP_INTERVAL: u64 = 200;

/// What a child counts beside its id.
const CHILD_OVERHEAD: usize = 160;

impl Families {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job has entered a state, which may have left one. Keeps what its parent has to know of it, until `expires` at least.
    pub(crate) fn child(
        &self,
        left: Option<&State>,
        state: &State,
        expires: u64,
        capacity: &Capacity,
    ) {
        let parent = state.parent();
        if let Some(former) = left.and_then(State::parent)
            && Some(&former) != parent.as_ref()
        {
            self.remove(&former, state.job(), capacity);
        }
        if let Some(parent) = parent {
            self.put(&parent, state.job(), ChildSummary::of(state), expires, capacity);
        }
    }

    /// A job is forgotten. Its parent keeps it.
    pub(crate) fn forgotten_child(&self, state: &State) {
        let Some(parent) = state.parent() else { return };
        let mut inner = self.inner();
        let Inner { families, changed } = &mut *inner;
        let Some(family) = families.get_mut(&parent) else { return };
        let Some(child) = family.children.get_mut(state.job()) else { return };
        let forgotten = child.forgotten();
        if forgotten == *child {
            return;
        }
        family.totals.remove(child);
        family.totals.add(&forgotten);
        *child = forgotten;
        changed.insert(parent);
        drop(inner);
        self.changed.notify_one();
    }

    fn put(
        &self,
        parent: &JobId,
        job: &JobId,
        child: ChildSummary,
        expires: u64,
        capacity: &Capacity,
    ) {
        let mut inner = self.inner();
        let Inner { families, changed } = &mut *inner;
        if !families.contains_key(parent) {
            families.insert(parent.clone(), Family::default());
            self.count.fetch_add(1, Ordering::Relaxed);
            capacity.add_bytes(CHILD_OVERHEAD);
        }
        let Some(family) = families.get_mut(parent) else { return };
        family.expires = family.expires.max(expires);
        let before = family.totals;
        let has_room = family.children.len() < MAX_CHILDREN && !capacity.is_full();
        match family.children.get_mut(job) {
            Some(kept) if child.is_newer_than(kept) => {
                family.totals.remove(kept);
                family.totals.add(&child);
                *kept = child;
            }
            Some(_) => {}
            None if !has_room => family.totals.incomplete = true,
            None => {
                family.children.insert(job.clone(), child);
                family.totals.add(&child);
                capacity.add_bytes(job.as_str().len() + CHILD_OVERHEAD);
            }
        }
        if family.totals != before && changed.insert(parent.clone()) {
            drop(inner);
            self.changed.notify_one();
        }
    }

    fn remove(&self, parent: &JobId, job: &JobId, capacity: &Capacity) {
        let mut inner = self.inner();
        let Inner { families, changed } = &mut *inner;
        let Some(family) = families.get_mut(parent) else { return };
        let Some(child) = family.children.remove(job) else { return };
        family.totals.remove(&child);
        capacity.remove_bytes(job.as_str().len() + CHILD_OVERHEAD);
        changed.insert(parent.clone());
        drop(inner);
        self.changed.notify_one();
    }

    /// The children of a job, to be shown now; none if it has had none.
    pub(crate) fn show(&self, parent: &JobId, now: u64) -> Option<ChildTotals> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut inner = self.inner();
        let family = inner.families.get_mut(parent)?;
        family.shown = Some(now);
        let totals = family.totals;
        inner.changed.remove(parent);
        Some(totals)
    }

    /// A job is forgotten, or begins another attempt: its children count no longer.
    pub(crate) fn forget(&self, parent: &JobId, capacity: &Capacity) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut inner = self.inner();
        let Some(family) = inner.families.remove(parent) else { return };
        inner.changed.remove(parent);
        drop(inner);
        self.count.fetch_sub(1, Ordering::Relaxed);
        let ids: usize =
            family.children.keys().map(|job| job.as_str().len() + CHILD_OVERHEAD).sum();
        capacity.remove_bytes(ids + CHILD_OVERHEAD);
    }

    /// The parents that are to be shown their children now. Those that were shown them less than [`ROLL_UP_INTERVAL`] ago wait.
    pub(crate) fn due(&self, now: u64) -> Vec<JobId> {
        let inner = self.inner();
        let is_due = |parent: &&JobId| {
            let shown = inner.families.get(*parent).and_then(|family| family.shown);
            shown.is_none_or(|shown| now >= shown + ROLL_UP_INTERVAL)
        };
        inner.changed.iter().filter(is_due).cloned().collect()
    }

    /// Whether a parent waits to be shown its children.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.inner().changed.is_empty()
    }

    /// The parents whose children were kept long enough, if there is no such job.
    pub(crate) fn expired(&self, now: u64) -> Vec<JobId> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let inner = self.inner();
        let expired = inner.families.iter().filter(|(_, family)| family.expires <= now);
        expired.map(|(parent, _)| parent.clone()).collect()
    }

    /// Waits until the children of a job change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
