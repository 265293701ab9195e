//! What the server does when its resident memory comes near to `memory_limit`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// The memory of the process, as the program around the server knows it.
pub trait ProcessMemory: Send + Sync {
    /// The resident memory in bytes; none if the system does not say.
    fn resident(&self) -> Option<usize>;

    /// Whether the allocator has to give freed memory back to the system at once, or may keep it for a moment, which costs
    /// less CPU time.
    fn give_back_at_once(&self, at_once: bool);
}

/// Often enough that little can be freed, and kept, between two looks. A look takes some 20 µs.
const EVERY: Duration = Duration::from_millis(100);

/// Looks at the resident memory, and has freed memory given back at once while it is high. Runs until it is dropped.
pub(crate) async fn watch(memory: Arc<dyn ProcessMemory>, limit: usize) {
    let mut pressure = Pressure::new(limit);
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Some(is_high) = memory.resident().and_then(|resident| pressure.look(resident)) {
            tracing::debug!(is_high, "the pressure on memory has changed");
            memory.give_back_at_once(is_high);
        }
    }
}

/// Whether resident memory is high. It becomes high at three quarters of the limit, as much as all shares may use together,
/// and low below five eighths, so that it does not change with every look.
struct Pressure {
    high: usize,
    low: usize,
    /// None before the first look.
    is_high: Option<bool>,
}

impl Pressure {
    fn new(limit: usize) -> Self {
        Self { high: limit / 4 * 3, low: limit / 8 * 5, is_high: None }
    }

    /// Whether it is high now; none if that has not changed.
    fn look(&mut self, resident: usize) -> Option<bool> {
        let is_high = resident >= if self.is_high == Some(true) { self.low } else { self.high };
        (self.is_high.replace(is_high) != Some(is_high)).then_some(is_high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_at_three_quarters_and_ends_at_five_eighths() {
        let mut pressure = Pressure::new(800);
        // A task that this one replaces may have set the allocator otherwise, so the first look always says.
        assert_eq!(pressure.look(0), Some(false));
        assert_eq!(pressure.look(599), None);
        assert_eq!(pressure.look(600), Some(true));
        assert_eq!(pressure.look(10_000), None);
        assert_eq!(pressure.look(500), None);
        assert_eq!(pressure.look(499), Some(false));
        assert_eq!(pressure.look(599), None);
        assert_eq!(Pressure::new(800).look(600), Some(true));
    }
}
