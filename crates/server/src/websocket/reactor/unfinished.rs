//! Messages that clients begin and do not finish.

use std::time::Duration;

use milepost_hub::WatcherKey;

use super::sockets::Sockets;
use crate::counters::count;
use crate::websocket::connection::{Phase, Unread};
use crate::websocket::inbound::Reader;

impl Sockets {
    /// Gives the message that a client has begun, if any, a time by which it has to be complete. `earlier`: the deadline of the message
    /// that was incomplete before.
    pub(super) fn set_deadline(
        &mut self,
        key: WatcherKey,
        serial: u64,
        reader: &mut Reader,
        earlier: Option<Duration>,
    ) {
        if let Some(earlier) = earlier
            && reader.deadline() != Some(earlier)
        {
            self.unfinished.remove(&(earlier, key.0, serial));
        }
        if !reader.is_idle() && reader.deadline().is_none() {
            let at = self.now() + self.message_timeout;
            reader.set_deadline(at);
            self.unfinished.insert((at, key.0, serial));
        }
    }

    /// Closes those whose message has not been completed in time. Only the shard's task may call it, because it reads.
    pub(super) fn expire_unfinished(&mut self) {
        let now = self.now();
        while let Some((at, index, serial)) = self.unfinished.first().copied()
            && at <= now
        {
            self.unfinished.pop_first();
            let key = WatcherKey(index);
            // The rest may have arrived while this process stood still.
            if self.unread_of(key, serial, at) == Some(Unread::Nothing) {
                self.read(key);
            }
            match self.unread_of(key, serial, at) {
                None => {}
                Some(Unread::Nothing) => {
                    count(&self.context.counters.timeouts.message);
                    self.close_for_now(key, "too-slow", None);
                }
                // There is more to read. If that is because the client does not read either, `stall_timeout` applies.
                Some(Unread::Queued | Unread::Parked) => {
                    let later = now + self.message_timeout;
                    if let Some(connection) = self.shard.wire(key) {
                        connection.reader.set_deadline(later);
                        self.unfinished.insert((later, index, serial));
                    }
                }
            }
        }
    }

    /// Whether there is more to read from a connection whose message has to be complete by then; none if there is no such connection.
    fn unread_of(&mut self, key: WatcherKey, serial: u64, deadline: Duration) -> Option<Unread> {
        let connection = self.shard.wire(key)?;
        let is_open = connection.serial == serial && connection.phase == Phase::Open;
        (is_open && connection.reader.deadline() == Some(deadline)).then_some(connection.unread)
    }
}
