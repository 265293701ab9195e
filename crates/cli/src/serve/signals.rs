//! The signals of a running server.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The signals that the server handles, from the moment it is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
    /// How often the server was asked to stop.
    stops: watch::Sender<u32>,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
            stops: watch::Sender::new(0),
        })
    }

    /// Done when SIGTERM and SIGINT together have arrived this often.
    pub(crate) fn stopped(&self, times: u32) -> impl Future<Output = ()> + use<> {
        let mut stops = self.stops.subscribe();
        async move {
            // An error means that signals are no longer handled: the server stops.
            let _ = stops.wait_for(|stops| *stops >= times).await;
        }
    }

    /// Handles signals until it is dropped; `reload` is called for each SIGHUP.
    pub(crate) async fn handle(mut self, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => self.stops.send_modify(|stops| *stops += 1),
                _ = self.interrupt.recv() => self.stops.send_modify(|stops| *stops += 1),
                _ = self.hangup.recv() => reload(),
                _ = self.user_1.recv() => tracing::info!("SIGUSR1 means nothing here; ignored"),
                _ = self.user_2.recv() => tracing::info!("SIGUSR2 means nothing here; ignored"),
            }
        }
    }
}

/// Done on the first SIGTERM or SIGINT.
pub(crate) fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
