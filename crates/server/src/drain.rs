use tokio::sync::watch;

/// The stages of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Watchers are asked to reconnect elsewhere, work in progress is finished, and nothing new is started.
    GoingDown,
    /// All requests are answered, so no more sockets go to the shards.
    LastAdmitted,
    /// The grace period is over: work still in progress is aborted.
    Over,
}

/// Whether the server is shutting down. Cheap to clone and to read.
#[derive(Clone)]
pub(crate) struct Drain(watch::Receiver<Stage>);

impl Drain {
    /// The sender of the later stages shuts the server down.
    pub(crate) fn new() -> (watch::Sender<Stage>, Self) {
        let (stage, stages) = watch::channel(Stage::Serving);
        (stage, Self(stages))
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow() >= Stage::GoingDown
    }

    /// Waits until the server is shutting down.
    pub(crate) async fn begun(&self) {
        self.reached(Stage::GoingDown).await;
    }

    /// Waits until no more sockets go to the shards.
    pub(crate) async fn last_admitted(&self) {
        self.reached(Stage::LastAdmitted).await;
    }

    /// Waits until the grace period is over.
    pub(crate) async fn over(&self) {
        self.reached(Stage::Over).await;
    }

    async fn reached(&self, target: Stage) {
        // An error means that the server's owner is gone, which is the same.
        let _ = self.0.clone().wait_for(|stage| *stage >= target).await;
    }
}
