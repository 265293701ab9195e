use std::time::Duration;

/// How long a topic waits after a pass that took `pass`, if newer states arrived during it.
///
/// Without a pause, a job with many watchers and frequent updates would occupy a whole core with back-to-back passes.
/// With a pause as long as the pass it takes half a core, and each write carries more updates. A state that arrives
/// while no pass is under way is sent at once.
pub(crate) fn pause(pass: Duration) -> Duration {
    /// A pass this short had few watchers and needs no pause.
    const SHORT: Duration = Duration::from_micros(500);
    const LONGEST: Duration = Duration::from_millis(20);
    if pass < SHORT { Duration::ZERO } else { pass.min(LONGEST) }
}
