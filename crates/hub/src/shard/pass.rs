//! A pass: a job's new states are written to each of its watchers, a slice at a time.

use std::time::Duration;

use milepost_protocol::View;
use smallvec::SmallVec;

use super::{SLICE, Shard, key_u32};
use crate::log::Mode;
use crate::pace;
use crate::render::Rendered;
use crate::topic::Given;
use crate::watcher::{WatcherKey, Wire, write};

/// How far a log reached when a slice was rendered, as cursors.
#[derive(Clone, Copy)]
struct Extent {
    /// After the last end that comes before the newest state: a cursor from here on misses no end.
    after_ends: u64,
    /// After the newest state.
    end: u64,
}

impl<W: Wire> Shard<W> {
    /// Serves up to `budget` of a topic's subscriptions, then queues the topic again or ends its pass. Returns how many
    /// were served, at least 1.
    pub(super) fn serve_slice(&mut self, key: u32, budget: usize) -> usize {
        let began = self.clock.elapsed();
        let topic = &mut self.topics[key as usize];
        let from = topic.next as usize;
        let to = topic.subscriptions.len().min(from + budget);
        topic.next = key_u32(to);
        let done = to == topic.subscriptions.len();
        let slice: SmallVec<[u32; SLICE]> = SmallVec::from_slice(&topic.subscriptions[from..to]);

        let (is_shed, has_notice) = {
            let mut inner = self.topics[key as usize].lease.lock();
            inner.start_pass(self.index);
            (inner.is_shed, inner.given().is_some())
        };
        if is_shed {
            slice.iter().for_each(|subscription| self.shed(*subscription));
        }
        for view in [View::Full, View::Public] {
            let of_view = slice.iter().copied();
            let of_view: SmallVec<[u32; SLICE]> =
                of_view.filter(|key| self.subscriptions[*key as usize].view == view).collect();
            if !is_shed && !of_view.is_empty() {
                self.serve_view(key, &of_view, view, began);
            }
        }
        // A state that was served since may have withdrawn it. One that is given since has a pass of its own.
        let given = if has_notice { self.topics[key as usize].lease.lock().given() } else { None };
        if let Some(given) = given {
            slice.iter().for_each(|subscription| self.notify(*subscription, given));
        }

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

    /// Serves those subscriptions of a slice that have the same view, from what is rendered once for all of them.
    fn serve_view(&mut self, key: u32, slice: &[u32], view: View, now: Duration) {
        let mut rendered = std::mem::take(&mut self.rendered);
        let log = self.render_for(key, slice, view, &mut rendered);
        for subscription in slice {
            self.serve_rendered(*subscription, log, &rendered, now);
        }
        self.rendered = rendered;
    }

    fn end_pass(&mut self, key: u32, now: Duration) {
        let topic = &mut self.topics[key as usize];
        let spent = std::mem::take(&mut topic.spent);
        topic.next = 0;
        if topic.subscriptions.is_empty() {
            topic.queued = false;
            self.drop_topic(key);
        } else if std::mem::take(&mut topic.needs_pass) {
            // The log keeps the states that arrived during the pass for the next one.
            match pace::pause(Duration::from_micros(spent.into())) {
                Duration::ZERO => self.ready.push_back(key),
                pause => self.paused.push_back((now + pause, key)),
            }
        } else {
            topic.queued = false;
            topic.lease.end_pass(self.index);
        }
    }

    /// Has the watcher of a topic that was shed leave.
    fn shed(&mut self, key: u32) {
        let Some(subscription) = self.subscriptions.get(key as usize) else { return };
        let watcher = WatcherKey(subscription.watcher as usize);
        self.watchers[watcher.0].shed(watcher, &mut self.closed);
    }

    /// Notifies a watcher of a notice about its job, unless it was notified of it already. If its wire accepts nothing now, it is
    /// notified once it does.
    fn notify(&mut self, key: u32, given: Given) {
        let Some(subscription) = self.subscriptions.get_mut(key as usize) else { return };
        let watcher = WatcherKey(subscription.watcher as usize);
        let is_due = given.is_due(subscription.cursor, subscription.notices_seen);
        if !is_due || !self.watchers[watcher.0].is_receptive() {
            return;
        }
        subscription.notices_seen = given.number;
        let mut frame = Vec::with_capacity(256);
        let topic = &self.topics[subscription.topic as usize];
        W::notice(given.notice, topic.lease.job(), self.clock.now(), &mut frame);
        self.send(watcher, &frame);
    }

    /// Renders the states that the subscriptions of a slice have pending.
    fn render_for(&self, key: u32, slice: &[u32], view: View, rendered: &mut Rendered) -> Extent {
        rendered.clear();
        let topic = &self.topics[key as usize].lease;
        let mut inner = topic.lock();
        let log = &inner.log;
        let behind = slice.iter().filter_map(|subscription| {
            let subscription = &self.subscriptions[*subscription as usize];
            let reachable = subscription.wants_all() && subscription.cursor >= log.first();
            // A blocked watcher must not make the others' writes start further back.
            let reachable =
                reachable && self.watchers[subscription.watcher as usize].is_receptive();
            reachable.then_some(subscription.cursor)
        });
        let newest = log.end().saturating_sub(1);
        let from = behind.min().unwrap_or(newest).min(newest);
        inner.prepare(from, Mode::All, view, &topic.shared);
        let log = &inner.log;
        rendered.append(log, from, Mode::All, view, W::frame);
        let after_ends = log.ends_before_newest(0).last().map_or(0, |(number, _)| number + 1);
        Extent { after_ends, end: log.end() }
    }

    /// Writes to one subscription of a slice, from what was rendered for the whole slice.
    fn serve_rendered(&mut self, key: u32, log: Extent, rendered: &Rendered, now: Duration) {
        let Some(subscription) = self.subscriptions.get(key as usize) else { return };
        let nothing_new = rendered.is_empty() || subscription.cursor >= log.end;
        if nothing_new || !self.watchers[subscription.watcher as usize].is_receptive() {
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

    /// Sends one subscription what is pending for it.
    pub(super) fn serve_one(&mut self, key: u32) {
        self.serve_one_after(&[], key);
    }

    /// Sends one subscription what is pending for it, with `lead` before it in the same write. False if nothing was sent,
    /// not even a part of `lead`.
    pub(super) fn serve_one_after(&mut self, lead: &[u8], key: u32) -> bool {
        let now = self.clock.elapsed();
        let Some(subscription) = self.subscriptions.get_mut(key as usize) else { return false };
        if !self.watchers[subscription.watcher as usize].is_receptive() {
            return false;
        }
        let mut rendered = std::mem::take(&mut self.rendered_one);
        rendered.begin_with(lead);
        let given = {
            let topic = &self.topics[subscription.topic as usize].lease;
            let mode = if subscription.wants_all() { Mode::All } else { Mode::Latest };
            let (cursor, view) = (subscription.cursor, subscription.view);
            let mut inner = topic.lock();
            if inner.is_shed {
                drop(inner);
                self.rendered_one = rendered;
                self.shed(key);
                return false;
            }
            inner.prepare(cursor, mode, view, &topic.shared);
            rendered.append(&inner.log, cursor, mode, view, W::frame);
            inner.given()
        };
        if let Some(rate) = subscription.rate.as_mut().filter(|rate| !rate.1.allows(now))
            && rendered.cut_after_ends()
        {
            let (serial, rate) = rate.as_mut();
            self.rates.wait(key, *serial, rate);
            self.sweep_rates();
        }
        let sent = !rendered.is_empty() && self.write(key, &rendered, 0, now);
        self.rendered_one = rendered;
        if let Some(given) = given
            && (sent || lead.is_empty())
        {
            self.notify(key, given);
        }
        sent
    }

    /// Bounds the timers of removed subscriptions by the number of present ones.
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

    /// Writes rendered frames, from the one at `index` on, to a subscription whose watcher is receptive. False if the wire
    /// accepted nothing.
    fn write(&mut self, key: u32, rendered: &Rendered, index: usize, now: Duration) -> bool {
        let subscription = &mut self.subscriptions[key as usize];
        let watcher_key = WatcherKey(subscription.watcher as usize);
        let watcher = &mut self.watchers[watcher_key.0];
        let bytes = &rendered.bytes()[rendered.start(index)..];
        let written = match write(&mut watcher.wire, bytes) {
            Ok(written) => written,
            Err(error) => {
                watcher.fail(watcher_key, error, &mut self.closed);
                return false;
            }
        };
        watcher.blocked = written < bytes.len();
        let written = rendered.written(index, written);
        if written.frames == 0 {
            return false;
        }
        subscription.cursor = written.cursor;
        watcher.buffer(&rendered.bytes()[written.remainder]);
        watcher.sent_tick = self.pings.at(now);
        self.frames_sent += written.frames;
        if let Some(rate) = &mut subscription.rate
            && written.frames > written.ends
        {
            rate.1.sent(now);
        }
        // If a later attempt has begun, the end that was just sent is not the job's.
        if written.at_end && subscription.close_at_end {
            watcher.finish(watcher_key, &mut self.closed);
        }
        true
    }
}
