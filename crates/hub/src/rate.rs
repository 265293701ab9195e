use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A subscription's limit of updates per second.
pub(crate) struct Rate {
    interval: Duration,
    /// Until then only ends may be sent.
    next: Duration,
    /// Whether it has an entry in the [`RateTimers`].
    waiting: bool,
}

impl Rate {
    /// `max_rate` is in updates per second, within the bounds of `spec/README.md`, section 5.
    pub(crate) fn new(max_rate: f64) -> Self {
        let interval = Duration::from_secs_f64(1.0 / max_rate.clamp(0.01, 1000.0));
        Self { interval, next: Duration::ZERO, waiting: false }
    }

    pub(crate) fn allows(&self, now: Duration) -> bool {
        now >= self.next
    }

    pub(crate) fn sent(&mut self, now: Duration) {
        self.next = now + self.interval;
    }

    /// Its entry was taken from the [`RateTimers`].
    pub(crate) fn timer_taken(&mut self) {
        self.waiting = false;
    }
}

/// When rate-limited subscriptions may be sent a state again. Each has at most one entry, which may outlive the
/// subscription.
#[derive(Default)]
pub(crate) struct RateTimers {
    due: BinaryHeap<Reverse<(Duration, u32, u64)>>,
}

impl RateTimers {
    /// Has the subscription served again as soon as its rate allows.
    pub(crate) fn wait(&mut self, subscription: u32, serial: u64, rate: &mut Rate) {
        if !std::mem::replace(&mut rate.waiting, true) {
            self.due.push(Reverse((rate.next, subscription, serial)));
        }
    }

    /// A subscription that is due, with the serial under which it was added.
    pub(crate) fn take(&mut self, now: Duration) -> Option<(u32, u64)> {
        let Reverse((due, subscription, serial)) = *self.due.peek()?;
        (due <= now).then(|| {
            self.due.pop();
            (subscription, serial)
        })
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// Drops the entries of subscriptions that `exists` denies.
    pub(crate) fn retain(&mut self, exists: impl Fn(u32, u64) -> bool) {
        self.due.retain(|Reverse((_, subscription, serial))| exists(*subscription, *serial));
    }

    /// When the first entry is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((due, ..))| *due)
    }
}
