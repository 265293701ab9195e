//! How connections end: one by one, or all when the server goes down.

use std::net::Shutdown;
use std::time::Duration;

use milepost_hub::WatcherKey;
use milepost_protocol::CloseCode;

use super::sockets::Sockets;
use crate::websocket::connection::Phase;
use crate::websocket::frame;

/// After a close frame, a client has so long to answer, …
const CLOSING: Duration = Duration::from_secs(2);
/// … and may say so much before.
const CLOSING_BYTES: u32 = 1 << 20;

impl Sockets {
    pub(super) fn is_closing(&mut self, key: WatcherKey) -> bool {
        self.shard.wire(key).is_some_and(|connection| connection.phase != Phase::Open)
    }

    pub(super) fn close(&mut self, key: WatcherKey, code: CloseCode, reason: &str) {
        let mut frame = Vec::new();
        frame::close(code, reason, &mut frame);
        self.begin_close(key, &frame);
    }

    /// Sends a close frame. Then the client has a while to answer it, or to close the socket, and what it
    /// says in between is read: bytes that nobody reads would make the kernel throw our frame away.
    pub(super) fn begin_close(&mut self, key: WatcherKey, frame: &[u8]) {
        let until = self.now() + CLOSING;
        let Some(connection) = self.shard.wire(key) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        connection.phase = Phase::Closing { patience: CLOSING_BYTES };
        let serial = connection.serial;
        self.closing.push_back((until, key, serial));
        self.shard.unsubscribe_all(key);
        self.shard.send(key, frame);
        if !self.shard.is_blocked(key)
            && let Some(connection) = self.shard.wire(key)
        {
            // If it is gone already, reading will say so.
            let _ = connection.stream.shutdown(Shutdown::Write);
        }
    }

    /// Tells everybody to come back, over the drain period, so that they do not all come at once.
    pub(super) fn begin_drain(&mut self) {
        let (now, period) = (self.now(), self.drain_period);
        for key in self.shard.keys() {
            let at = now + period.mul_f64(fastrand::f64());
            if let Some(connection) = self.shard.wire(key) {
                self.draining.push((at, key, connection.serial));
            }
        }
        // The next one is the last.
        self.draining.sort_unstable_by_key(|(at, ..)| std::cmp::Reverse(*at));
    }

    pub(super) fn close_for_restart(&mut self, key: WatcherKey) {
        let retry_ms = fastrand::u32(200..=3_000);
        let reason = format!(r#"{{"reason":"restart","retry_ms":{retry_ms}}}"#);
        self.close(key, CloseCode::Restart, &reason);
    }
}
