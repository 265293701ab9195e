use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use milepost_protocol::{State, Timeline};

use milepost_broker::Stats;

/// The memory that a state takes beside its JSON: its place in the maps, and the allocator's overhead.
const STATE_OVERHEAD: usize = 160;

/// How much the broker holds, and its bounds. Shared by the stripes. The counts may exceed a bound by what several stripes add at
/// the same moment.
pub(crate) struct Capacity {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
    evicted: AtomicU64,
    max_jobs: usize,
    max_bytes: usize,
}

impl Capacity {
    pub(crate) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        let (jobs, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { jobs, bytes, evicted: AtomicU64::new(0), max_jobs, max_bytes }
    }

    /// The bound that a new job, or one more state, would exceed, after `freed` bytes were freed for it; none if it fits.
    pub(crate) fn exceeded(&self, new_job: bool, state: &State, freed: usize) -> Option<String> {
        if new_job && self.jobs.load(Ordering::Relaxed) >= self.max_jobs {
            return Some(format!("it holds {} jobs", self.max_jobs));
        }
        (self.bytes.load(Ordering::Relaxed).saturating_sub(freed) + cost(state) > self.max_bytes)
            .then(|| format!("it holds {} bytes of states", self.max_bytes))
    }

    pub(crate) fn add_job(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_job(&self) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, state: &State) {
        self.bytes.fetch_add(cost(state), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, state: &State) {
        self.bytes.fetch_sub(cost(state), Ordering::Relaxed);
    }

    pub(crate) fn add_timeline(&self, timeline: &Timeline) {
        self.bytes.fetch_add(timeline_cost(timeline), Ordering::Relaxed);
    }

    pub(crate) fn remove_timeline(&self, timeline: &Timeline) {
        self.bytes.fetch_sub(timeline_cost(timeline), Ordering::Relaxed);
    }

    /// Counts bytes of anything other than states.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove_bytes(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether the bound in bytes is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    pub(crate) fn count_evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            jobs: self.jobs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            evicted: self.evicted.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }
}

/// The bytes that a state counts for.
pub(crate) fn cost(state: &State) -> usize {
    state.json().len() + state.pace_len() + STATE_OVERHEAD
}

/// The bytes that a timeline counts for.
pub(crate) fn timeline_cost(timeline: &Timeline) -> usize {
    timeline.encoded_len() + STATE_OVERHEAD
}
