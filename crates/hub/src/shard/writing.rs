//! Writes to a single watcher: control frames, pending states, and the remainder of an earlier write.

use std::io;

use super::Shard;
use crate::watcher::{Phase, WatcherKey, Wire, write};

/// The most bytes buffered for a watcher whose wire accepts nothing. Its owner stops reading requests from it long before.
const MAX_UNSENT: usize = 256 << 10;

impl<W: Wire> Shard<W> {
    /// Whether the watcher's wire accepts no bytes now. Meanwhile its owner reads no requests from it, so that answers
    /// do not pile up.
    pub fn is_blocked(&self, key: WatcherKey) -> bool {
        self.watchers.get(key.0).is_some_and(|watcher| watcher.blocked)
    }

    /// Holds back what is sent to a watcher, so that it leaves in one write, after `lead`. [`uncork`](Self::uncork) has to
    /// follow before anything else is served.
    pub fn cork(&mut self, key: WatcherKey, lead: Vec<u8>) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        watcher.blocked = true;
        watcher.unsent = Some(Box::new(lead));
    }

    /// Sends what was held back, and what is pending for the watcher.
    pub fn uncork(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        if let [subscription] = watcher.subscriptions[..]
            && watcher.phase == Phase::Open
            && let Some(held) = watcher.unsent.take()
        {
            watcher.blocked = false;
            if self.serve_one_after(&held, subscription) {
                return;
            }
            // Nothing is pending, or the wire accepted nothing.
            let watcher = &mut self.watchers[key.0];
            watcher.blocked = true;
            watcher.unsent = Some(held);
        }
        self.writable(key);
    }

    /// Sends a control frame, after whatever is buffered.
    pub fn send(&mut self, key: WatcherKey, frame: &[u8]) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        if watcher.phase == Phase::Failed {
            return;
        }
        watcher.sent_tick = self.pings.at(self.clock.elapsed());
        self.frames_sent += 1;
        let written = if watcher.blocked { Ok(0) } else { write(&mut watcher.wire, frame) };
        match written {
            Ok(written) if written == frame.len() => {}
            Ok(written) => {
                watcher.blocked = true;
                if watcher.buffer(&frame[written..]) > MAX_UNSENT {
                    let error = io::Error::other("it sends requests but does not read the answers");
                    watcher.fail(key, error, &mut self.closed);
                }
            }
            Err(error) => watcher.fail(key, error, &mut self.closed),
        }
    }

    /// The watcher's wire may accept bytes again.
    pub fn writable(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(key.0) else { return };
        if !watcher.blocked || watcher.phase == Phase::Failed {
            return;
        }
        let unsent = watcher.unsent.get_or_insert_default();
        let written = if unsent.is_empty() { Ok(0) } else { write(&mut watcher.wire, unsent) };
        match written {
            Ok(written) if written == unsent.len() => {
                watcher.unsent = None;
                watcher.blocked = false;
                watcher.sent_tick = self.pings.at(self.clock.elapsed());
                if watcher.phase == Phase::Flushing {
                    watcher.finish(key, &mut self.closed);
                }
                self.serve_watcher(key);
            }
            Ok(written) => {
                unsent.drain(..written);
            }
            Err(error) => watcher.fail(key, error, &mut self.closed),
        }
    }

    /// Sends a watcher what is pending for it, job by job, until its wire is full.
    pub(super) fn serve_watcher(&mut self, key: WatcherKey) {
        let mut served = 0;
        while let Some(watcher) = self.watchers.get(key.0)
            && watcher.is_receptive()
            && let Some(subscription) = watcher.subscriptions.get(served)
        {
            self.serve_one(*subscription);
            served += 1;
        }
        // Next time it continues from there, so that a job with many updates cannot starve the others.
        if let Some(watcher) = self.watchers.get_mut(key.0)
            && served < watcher.subscriptions.len()
        {
            watcher.subscriptions.rotate_left(served);
        }
    }
}
