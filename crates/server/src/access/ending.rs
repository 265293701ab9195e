use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Gate, Grant, Granted};
use crate::instance::Instance;

/// The expiry of the grant of a long request, such as an event stream.
pub(crate) struct Ending(Option<Guarded>);

struct Guarded {
    gate: Arc<Gate>,
    granted: Arc<Granted>,
    expires: Option<Instant>,
    changes: watch::Receiver<u64>,
}

impl Ending {
    pub(crate) fn of(grant: &Grant, instance: &Instance) -> Self {
        let guarded = instance.gate.as_ref().zip(grant.granted()).map(|(gate, granted)| Guarded {
            changes: gate.changes(),
            expires: granted.left(&*instance.clock).map(|left| Instant::now() + left),
            gate: Arc::clone(gate),
            granted: Arc::clone(granted),
        });
        Self(guarded)
    }

    /// Waits until the grant ends, and returns why. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> &'static str {
        let Some(Guarded { gate, granted, expires, changes }) = &mut self.0 else {
            return std::future::pending().await;
        };
        // The keys may have changed since it was granted.
        if !gate.still_holds(granted) {
            return "the key was revoked";
        }
        let expired = async {
            match expires {
                Some(at) => tokio::time::sleep_until(*at).await,
                None => std::future::pending().await,
            }
        };
        let revoked = async {
            while changes.changed().await.is_ok() {
                if !gate.still_holds(granted) {
                    return;
                }
            }
            // The gate was dropped with the server.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = expired => "the token has expired",
            () = revoked => "the key was revoked",
        }
    }
}
