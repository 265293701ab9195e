use tokio::sync::watch;

/// How far the server is in going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Watchers are told to go, what is under way is finished, nothing new is begun.
    GoingDown,
    /// All requests are through, so that no socket is on its way to a shard any more.
    LastAdmitted,
    /// The grace period is over: what is still under way is cut off.
    Over,
}

/// Whether the server is going down. Cheap to clone and to ask.
#[derive(Clone)]
pub(crate) struct Drain(watch::Receiver<Stage>);

impl Drain {
    /// Who sends the later stages has the server go down.
    pub(crate) fn new() -> (watch::Sender<Stage>, Self) {
        let (stage, stages) = watch::channel(Stage::Serving);
        (stage, Self(stages))
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow() >= Stage::GoingDown
    }

    /// Waits until the server is going down.
    pub(crate) async fn begun(&self) {
        self.reached(Stage::GoingDown).await;
    }

    /// Waits until no socket is on its way to a shard any more.
    pub(crate) async fn last_admitted(&self) {
        self.reached(Stage::LastAdmitted).await;
    }

    /// Waits until the grace period is over.
    pub(crate) async fn over(&self) {
        self.reached(Stage::Over).await;
    }

    async fn reached(&self, wanted: Stage) {
        // An error means that the server's owner is gone, which is the same.
        let _ = self.0.clone().wait_for(|stage| *stage >= wanted).await;
    }
}
