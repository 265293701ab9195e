//! A pass: a job's new states, written to each of its watchers, a slice at a time.

use std::time::Duration;

use smallvec::SmallVec;

use super::{SLICE, Shard, narrow};
use crate::log::Mode;
use crate::pace;
use crate::render::Rendered;
use crate::watcher::{WatcherKey, Wire, write};

/// Numbers of a log: behind the last end before the newest state, and behind that.
#[derive(Clone, Copy)]
struct Extent {
    after_ends: u64,
    end: u64,
}

impl<W: Wire> Shard<W> {
    /// Serves up to `budget` of a topic's watchers, and puts it where it belongs then. Returns how many.
    pub(super) fn serve_slice(&mut self, key: u32, budget: usize) -> usize {
        let began = self.clock.elapsed();
        let topic = &mut self.topics[key as usize];
        let from = topic.next as usize;
        let to = topic.subscriptions.len().min(from + budget);
        topic.next = narrow(to);
        let done = to == topic.subscriptions.len();
        let slice: SmallVec<[u32; SLICE]> = SmallVec::from_slice(&topic.subscriptions[from..to]);

        let mut rendered = std::mem::take(&mut self.rendered);
        let log = self.render_for(key, &slice, &mut rendered);
        for subscription in &slice {
            self.serve_rendered(*subscription, log, &rendered, began);
        }
        self.rendered = rendered;

        let now = self.clock.elapsed();
        let topic = &mut self.topics[key as usize];
        let micros = now.saturating_sub(began).as_micros();
        topic.spent = topic.spent.saturating_add(u32::try_from(micros).unwrap_or(u32::MAX));
        if done {
            self.end_pass(key, now);
        } else {
            self.ready.push_back(key);
        }
        slice.len().max(1)
    }

    fn end_pass(&mut self, key: u32, now: Duration) {
        let topic = &mut self.topics[key as usize];
        let spent = std::mem::take(&mut topic.spent);
        topic.next = 0;
        if topic.subscriptions.is_empty() {
            topic.queued = false;
            self.drop_topic(key);
        } else if std::mem::take(&mut topic.again) {
            // What came in meanwhile is in the log, which keeps it for the next pass.
            match pace::rest(Duration::from_micros(spent.into())) {
                Duration::ZERO => self.ready.push_back(key),
                rest => self.resting.push_back((now + rest, key)),
            }
        } else {
            topic.queued = false;
            topic.lease.served(self.index);
        }
    }

    /// Renders what the subscriptions of a slice are to be shown.
    fn render_for(&self, key: u32, slice: &[u32], rendered: &mut Rendered) -> Extent {
        rendered.clear();
        let mut inner = self.topics[key as usize].lease.lock();
        inner.looked(self.index);
        let log = &inner.log;
        let behind = slice.iter().filter_map(|subscription| {
            let subscription = &self.subscriptions[*subscription as usize];
            let reachable = subscription.wants_all() && subscription.cursor >= log.first();
            // One that stands still must not make the others' share larger.
            let reachable = reachable && self.watchers[subscription.watcher as usize].takes();
            reachable.then_some(subscription.cursor)
        });
        let newest = log.end().saturating_sub(1);
        let from = behind.min().unwrap_or(newest).min(newest);
        rendered.append(log, from, Mode::All, W::frame);
        let after_ends = log.ends_before_newest(0).last().map_or(0, |(number, _)| number + 1);
        Extent { after_ends, end: log.end() }
    }

    /// Writes to one subscription of a slice, out of what was rendered for all of it.
    fn serve_rendered(&mut self, key: u32, log: Extent, rendered: &Rendered, now: Duration) {
        let Some(subscription) = self.subscriptions.get(key as usize) else { return };
        let nothing_new = rendered.is_empty() || subscription.cursor >= log.end;
        if nothing_new || !self.watchers[subscription.watcher as usize].takes() {
            return;
        }
        let index = rendered.index_of(subscription.cursor);
        if subscription.wants_all() && rendered.number(index) == Some(subscription.cursor) {
            self.write(key, rendered, index, now);
        } else if subscription.rate.is_none() && subscription.cursor >= log.after_ends {
            self.write(key, rendered, rendered.newest(), now);
        } else {
            self.serve_one(key);
        }
    }

    /// Shows one subscription what there is for it now.
    pub(super) fn serve_one(&mut self, key: u32) {
        let now = self.clock.elapsed();
        let Some(subscription) = self.subscriptions.get_mut(key as usize) else { return };
        if !self.watchers[subscription.watcher as usize].takes() {
            return;
        }
        let mut rendered = std::mem::take(&mut self.rendered_one);
        rendered.clear();
        {
            let inner = self.topics[subscription.topic as usize].lease.lock();
            let mode = if subscription.wants_all() { Mode::All } else { Mode::Latest };
            rendered.append(&inner.log, subscription.cursor, mode, W::frame);
        }
        if let Some(rate) = subscription.rate.as_mut().filter(|rate| !rate.1.allows(now))
            && rendered.cut_after_ends()
        {
            let (serial, rate) = rate.as_mut();
            self.rates.wait(key, *serial, rate);
            self.sweep_rates();
        }
        if !rendered.is_empty() {
            self.write(key, &rendered, 0, now);
        }
        self.rendered_one = rendered;
    }

    /// Keeps the timers of subscriptions that are there no more within the number of those that are.
    fn sweep_rates(&mut self) {
        let subscriptions = &self.subscriptions;
        if self.rates.len() > 2 * subscriptions.len() + SLICE {
            self.rates.retain(|key, serial| {
                let subscription = subscriptions.get(key as usize);
                let rate = subscription.and_then(|subscription| subscription.rate.as_ref());
                rate.is_some_and(|rate| rate.0 == serial)
            });
        }
    }

    /// Writes what was rendered, from the frame at `index` on, to a subscription whose wire takes
    /// something.
    fn write(&mut self, key: u32, rendered: &Rendered, index: usize, now: Duration) {
        let subscription = &mut self.subscriptions[key as usize];
        let watcher_key = WatcherKey(subscription.watcher as usize);
        let watcher = &mut self.watchers[watcher_key.0];
        let bytes = &rendered.bytes()[rendered.start(index)..];
        let written = match write(&mut watcher.wire, bytes) {
            Ok(written) => written,
            Err(error) => return watcher.fail(watcher_key, error, &mut self.gone),
        };
        watcher.blocked = written < bytes.len();
        let written = rendered.written(index, written);
        if written.frames == 0 {
            return;
        }
        subscription.cursor = written.cursor;
        watcher.keep(&rendered.bytes()[written.rest]);
        watcher.sent_tick = self.pings.at(now);
        self.frames_sent += written.frames;
        if let Some(rate) = &mut subscription.rate
            && written.frames > written.ends
        {
            rate.1.sent(now);
        }
        // A later attempt may have begun: then the end of the one before is not the job's.
        if written.at_end && subscription.close_at_end {
            watcher.finish(watcher_key, &mut self.gone);
        }
    }
}
