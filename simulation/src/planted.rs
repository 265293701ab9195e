/// A fault that is planted into the simulation's wiring, to prove that the checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Planted {
    /// An instance that has lost its connection to Redis subscribes to nothing on the next.
    NoResubscription,
    /// An instance ignores the position that a watcher has seen.
    NoResume,
    /// Redis takes updates after the end of their attempt.
    NoLatch,
    /// Redis acknowledges an update in twenty that it does not keep.
    LostUpdate,
}
