//! Ctrl-Z while rows are drawn.

use std::future::pending;

use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From now on SIGTSTP stops the process only once the rows are out of the shell's way.
#[derive(Debug)]
pub(crate) struct Suspension(Option<Signal>);

impl Suspension {
    /// On a runtime. If the signal cannot be caught it stops the process as ever.
    pub(crate) fn catch() -> Self {
        Self(signal(SignalKind::from_raw(SIGTSTP)).ok())
    }

    /// For what draws nothing: the signal has its usual effect.
    pub(crate) fn usual() -> Self {
        Self(None)
    }

    /// Ready when the process is to stop.
    pub(crate) async fn requested(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        pending::<()>().await;
    }

    /// Stops the process, and returns when it is continued.
    pub(crate) fn stop() {
        // It fails for signals that cannot be emulated only.
        let _ = emulate_default_handler(SIGTSTP);
    }
}
