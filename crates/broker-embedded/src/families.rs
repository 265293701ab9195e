//! The children of jobs: `spec/README.md`, section 18.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_protocol::{ChildSummary, ChildTotals, JobId, MAX_CHILDREN, State};
use tokio::sync::Notify;

use crate::capacity::Capacity;

/// The children of all parents, by parent.
///
/// Children may be reported before their parent, and their summaries may outlive their own jobs. They are kept as long as the
/// parent, or, if the parent is not known, as long as the last child.
#[derive(Default)]
pub(crate) struct Families {
    inner: Mutex<Inner>,
    /// The number of parents, so that a broker without children takes no lock.
    count: AtomicUsize,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    families: HashMap<JobId, Family>,
    /// The parents whose state does not show the latest totals yet.
    changed: HashSet<JobId>,
}

#[derive(Default)]
struct Family {
    children: HashMap<JobId, ChildSummary>,
    totals: ChildTotals,
    /// When the totals were shown last, in milliseconds of the clock's `elapsed`.
    shown: Option<u64>,
    /// Until when the children are kept at least, in the same unit.
    expires: u64,
}

/// The shortest time between two states in which a parent shows changes of its children, in milliseconds.
pub(crate) const ROLL_UP_INTERVAL: u64 = 200;

/// The bytes that a child counts for in addition to its id.
const CHILD_OVERHEAD: usize = 160;

impl Families {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records in the summaries of a job's parent that the job has gone from the state `left`, if it had one, to `state`. The
    /// summary is kept until `expires` at least.
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

    /// Records that a job was forgotten. Its parent keeps its summary.
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
            if capacity.is_full() {
                // The bound holds also for a worker that names ever new parents.
                return;
            }
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

    /// The children of a job; none if it has had none.
    pub(crate) fn totals(&self, parent: &JobId) -> Option<ChildTotals> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.inner().families.get(parent).map(|family| family.totals)
    }

    /// Records that a job's state shows these totals. If the children have changed since, they are still due.
    pub(crate) fn shown(&self, parent: &JobId, totals: &ChildTotals, now: u64) {
        let mut inner = self.inner();
        let Some(family) = inner.families.get_mut(parent) else { return };
        family.shown = Some(now);
        if family.totals == *totals {
            inner.changed.remove(parent);
        }
    }

    /// Removes the children of a job that was forgotten, or begins another attempt.
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

    /// The parents whose state has to show its children now. Those that did so less than [`ROLL_UP_INTERVAL`] ago wait.
    pub(crate) fn due(&self, now: u64) -> Vec<JobId> {
        let inner = self.inner();
        let is_due = |parent: &&JobId| {
            let shown = inner.families.get(*parent).and_then(|family| family.shown);
            shown.is_none_or(|shown| now >= shown + ROLL_UP_INTERVAL)
        };
        inner.changed.iter().filter(is_due).cloned().collect()
    }

    /// Whether a parent's state does not show the latest totals yet.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.inner().changed.is_empty()
    }

    /// The parents whose children expire, if the parent is not known.
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

#[cfg(test)]
mod tests {
    use milepost_protocol::{ChildStatus, Epoch, Position};

    use super::*;

    fn id(id: &str) -> JobId {
        JobId::parse(id).unwrap()
    }

    fn child(status: ChildStatus, number: u64) -> ChildSummary {
        let position = Position { epoch: Epoch(1), number };
        ChildSummary { status, progress: 0.0, weight: 1.0, attempt: 1, position }
    }

    #[test]
    fn a_parent_counts_so_many_children_and_no_more() {
        let (families, capacity) = (Families::default(), Capacity::new(1, usize::MAX));
        let (parent, last) = (id("p"), id("last"));
        let runs = child(ChildStatus::Processing, 1);
        for number in 0..MAX_CHILDREN {
            families.put(&parent, &id(&format!("c{number}")), runs, 0, &capacity);
        }
        let all = families.totals(&parent).unwrap();
        assert_eq!((all.known() as usize, all.incomplete), (MAX_CHILDREN, false));
        families.put(&parent, &last, runs, 0, &capacity);
        let totals = families.totals(&parent).unwrap();
        assert_eq!((totals.known() as usize, totals.incomplete), (MAX_CHILDREN, true));
        // Known children continue, and make room for others.
        families.put(&parent, &id("c0"), child(ChildStatus::Completed, 2), 0, &capacity);
        assert_ne!(families.totals(&parent).unwrap(), totals);
        families.remove(&parent, &id("c1"), &capacity);
        families.put(&parent, &last, runs, 0, &capacity);
        assert_eq!(families.totals(&parent).unwrap().known() as usize, MAX_CHILDREN);
        families.forget(&parent, &capacity);
        assert_eq!(capacity.stats().bytes, 0, "what was counted is given back");
    }

    #[test]
    fn at_the_bound_in_bytes_no_more_children_count() {
        const BYTES: usize = 4_000;
        let (families, capacity) = (Families::default(), Capacity::new(1, BYTES));
        for number in 0..1_000 {
            let runs = child(ChildStatus::Processing, 1);
            families.put(&id("p"), &id(&format!("c{number}")), runs, 0, &capacity);
            families.put(&id(&format!("p{number}")), &id("c"), runs, 0, &capacity);
        }
        assert!(capacity.stats().bytes < BYTES + 500, "{}", capacity.stats().bytes);
        let totals = families.totals(&id("p")).unwrap();
        assert!(totals.incomplete && totals.known() > 1, "{totals:?}");
        let parents = families.expired(0);
        assert!((2..BYTES / CHILD_OVERHEAD).contains(&parents.len()));
        for parent in parents {
            families.forget(&parent, &capacity);
        }
        assert_eq!(capacity.stats().bytes, 0);
    }
}
