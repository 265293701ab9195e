//! Closing connections: one by one, or all of them when the server shuts down.

use std::net::Shutdown;
use std::time::Duration;

use milepost_hub::WatcherKey;
use milepost_protocol::CloseCode;

use super::sockets::Sockets;
use crate::websocket::connection::Phase;
use crate::websocket::frame;

/// How long a client has to answer a close frame, …
pub(in crate::websocket) const CLOSING: Duration = Duration::from_secs(2);
/// … and how many bytes it may send before that.
const CLOSING_BYTES: u32 = 1 << 20;

impl Sockets {
    pub(super) fn is_closing(&mut self, key: WatcherKey) -> bool {
        self.shard.wire(key).is_some_and(|connection| connection.phase != Phase::Open)
    }

    pub(super) fn close(&mut self, key: WatcherKey, code: CloseCode, reason: &str) {
        let mut frame = Vec::new();
        frame::close(code, reason, &mut frame);
        if let Some(connection) = self.shard.wire(key)
            && connection.phase == Phase::Open
        {
            // In quotes, so that nothing of a reason can steer a terminal.
            tracing::debug!(
                request_id = connection.id,
                code = code.code(),
                ?reason,
                "closing the socket"
            );
        }
        self.begin_close(key, &frame);
    }

    /// Sends a close frame. The client then has a while to answer it or to close the socket. Until then its bytes are read
    /// and discarded: unread bytes would make the kernel reset the connection and drop our frame.
    pub(super) fn begin_close(&mut self, key: WatcherKey, frame: &[u8]) {
        let until = self.now() + CLOSING;
        self.unschedule(key);
        let Some(connection) = self.shard.wire(key) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        connection.phase = Phase::Closing { allowance: CLOSING_BYTES };
        let serial = connection.serial;
        self.closing.push_back((until, key, serial));
        self.shard.unsubscribe_all(key);
        self.shard.send(key, frame);
        if !self.shard.is_blocked(key)
            && let Some(connection) = self.shard.wire(key)
        {
            // If the peer has disconnected, the next read reports it.
            let _ = connection.stream.shutdown(Shutdown::Write);
        }
    }

    /// Schedules the close of every connection, spread over the drain period so that clients do not reconnect all at once.
    pub(super) fn begin_drain(&mut self) {
        let (now, period) = (self.now(), self.drain_period);
        for key in self.shard.keys() {
            let at = now + period.mul_f64(fastrand::f64());
            if let Some(connection) = self.shard.wire(key) {
                self.draining.push((at, key, connection.serial));
            }
        }
        // The next one to close is at the end.
        self.draining.sort_unstable_by_key(|(at, ..)| std::cmp::Reverse(*at));
    }

    pub(super) fn close_for_restart(&mut self, key: WatcherKey) {
        let retry_ms = fastrand::u32(200..=3_000);
        let reason = format!(r#"{{"reason":"restart","retry_ms":{retry_ms}}}"#);
        self.close(key, CloseCode::Restart, &reason);
    }
}
