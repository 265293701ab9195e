use std::time::Duration;

/// Which watchers are due for a ping because nothing was sent to them for an interval: one timer wheel for all.
///
/// Sending a frame only records its tick. A watcher whose entry comes up too early is inserted again.
///
/// Invariant: a watcher has an entry in the slot of its `due` tick. Entries of watchers that were removed, or are due
/// later, are skipped; there are at most as many as watchers that connected within an interval.
pub(crate) struct PingWheel {
    slots: Vec<Vec<u32>>,
    interval: u32,
    /// When the first tick began.
    origin: Duration,
    tick: u32,
}

const TICK: Duration = Duration::from_millis(250);

impl PingWheel {
    /// A wheel for that interval: at least one tick, at most an hour. A watcher is due once the interval has passed, at
    /// most a tick later.
    pub(crate) fn new(interval: Duration, now: Duration) -> Self {
        let ticks = (interval.as_millis() / TICK.as_millis()).clamp(1, 14_400);
        let interval = u32::try_from(ticks).unwrap_or(1);
        let slots = (0..interval + 2).map(|_| Vec::new()).collect();
        Self { slots, interval, origin: now, tick: 0 }
    }

    /// Starts again without watchers. A wheel without watchers does not advance.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.slots.iter_mut().for_each(Vec::clear);
        self.origin = now;
        self.tick = 0;
    }

    /// The present tick.
    pub(crate) fn now(&self) -> u32 {
        self.tick
    }

    /// The tick at `elapsed`, which the wheel may not have reached yet.
    pub(crate) fn at(&self, elapsed: Duration) -> u32 {
        let passed = elapsed.saturating_sub(self.origin).as_millis() / TICK.as_millis();
        // 34 years.
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// Whether the interval has passed since the tick `sent`.
    pub(crate) fn is_over(&self, sent: u32) -> bool {
        self.tick.saturating_sub(sent) > self.interval
    }

    /// Inserts a watcher that was last sent a frame at tick `sent`; returns the tick at which it is due.
    pub(crate) fn insert(&mut self, watcher: u32, sent: u32) -> u32 {
        // More than one turn ahead, its entry would come up too early and be skipped.
        let due = sent.min(self.tick).saturating_add(self.interval + 1);
        let slots = self.slots.len();
        self.slots[due as usize % slots].push(watcher);
        due
    }

    /// Advances to the next tick that has passed at `elapsed`, and takes the watchers due then.
    pub(crate) fn advance(&mut self, elapsed: Duration) -> Option<Vec<u32>> {
        let now = self.at(elapsed);
        if self.tick >= now {
            return None;
        }
        // After a long standstill, one turn of the wheel visits every watcher.
        let turn = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.tick = (self.tick + 1).max(now.saturating_sub(turn));
        let slots = self.slots.len();
        Some(std::mem::take(&mut self.slots[self.tick as usize % slots]))
    }

    /// When the next tick is.
    pub(crate) fn next(&self) -> Duration {
        self.origin + TICK * self.tick.saturating_add(1)
    }
}
