use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A watcher's wish for at most so many updates a second.
pub(crate) struct Rate {
    interval: Duration,
    /// Not before this is anything but an end to be sent.
    next: Duration,
    /// Whether it stands in the [`RateTimers`].
    waiting: bool,
}

impl Rate {
    /// `max_rate` is in updates a second, and within the bounds of `spec/README.md`, section 5.
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
}

/// When subscriptions with a rate may be sent something again; each stands here at most once, and may still
/// do so when it is there no more.
#[derive(Default)]
pub(crate) struct RateTimers {
    due: BinaryHeap<Reverse<(Duration, u32, u64)>>,
}

impl RateTimers {
    /// Has the subscription looked at again when its rate allows.
    pub(crate) fn wait(&mut self, subscription: u32, serial: u64, rate: &mut Rate) {
        if !std::mem::replace(&mut rate.waiting, true) {
            self.due.push(Reverse((rate.next, subscription, serial)));
        }
    }

    /// A subscription whose time has come, with the serial under which it was put in.
    pub(crate) fn take(&mut self, now: Duration) -> Option<(u32, u64)> {
        let Reverse((due, subscription, serial)) = *self.due.peek()?;
        (due <= now).then(|| {
            self.due.pop();
            (subscription, serial)
        })
    }

    /// How many stand here.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// Drops those that are not there any more.
    pub(crate) fn retain(&mut self, is_there: impl Fn(u32, u64) -> bool) {
        self.due.retain(|Reverse((_, subscription, serial))| is_there(*subscription, *serial));
    }

    /// When the first is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((due, ..))| *due)
    }
}

impl Rate {
    pub(crate) fn woken(&mut self) {
        self.waiting = false;
    }
}
