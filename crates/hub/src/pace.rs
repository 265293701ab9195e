use std::time::Duration;

/// How long a shard lets a topic rest after a pass in which newer states came in.
///
/// Passes back to back would take a whole core for a job with many watchers and many updates, to little
/// use: with a rest as long as the pass was, half of one, and each write then carries more updates. What
/// comes in while nothing is under way is sent at once.
pub(crate) fn rest(pass: Duration) -> Duration {
    /// A pass this short needs no rest: few watchers.
    const SHORT: Duration = Duration::from_micros(500);
    const LONGEST: Duration = Duration::from_millis(20);
    if pass < SHORT { Duration::ZERO } else { pass.min(LONGEST) }
}
