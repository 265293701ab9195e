use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use milepost_protocol::{JobId, Update};
use milepost_redis::{Answer, Call, Names, Node, Read, Reply, Report, Retention};
use redis_protocol::resp3::types::BytesFrame;

use crate::health::Health;
use crate::queue::Queue;
use crate::refusals::Refusals;
use crate::socket::{Socket, bytes_of, error_of, text_of};
use crate::watched::{Heard, LinkKey, TakeKey, Watched, Wish};
use milepost_broker::Clock;

/// What a link has in common with the broker that it is of.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) names: Names,
    pub(crate) retention: Retention,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) health: Arc<Health>,
    pub(crate) refusals: Arc<Refusals>,
}

/// The subscriptions at one server, and the reads and takes that go with them.
///
/// One connection carries them all, so what is published before a read is answered, is in the answer, and what comes
/// after the answer is newer.
pub(crate) struct Link {
    context: Context,
    node: Node,
    queue: Arc<Queue>,
    socket: Socket,
    /// What is asked and not answered yet, in this order.
    asked: VecDeque<Asked>,
    /// How many of them are reads.
    reads: usize,
    /// The jobs subscribed to, each with whether it was read again since.
    subscribed: HashMap<JobId, bool>,
    /// When each job is to be read again, though nothing has happened.
    due: BTreeMap<(Duration, u64), JobId>,
    /// Where each job stands in `due`, once.
    scheduled: HashMap<JobId, (Duration, u64)>,
    serial: u64,
    /// Tells this link from others.
    key: LinkKey,
    /// Counts the publishes that were put on their way here.
    takes: u64,
    /// The link's own channel, on which it hears the probes.
    probe: String,
    since: Duration,
    last_frame: Duration,
}

enum Asked {
    /// The job; none for the channel of the probes.
    Subscribe(Option<JobId>),
    Unsubscribe(JobId),
    Read(JobId),
    Take(JobId, TakeKey, Option<u32>),
    Load,
}

static LINKS: AtomicU64 = AtomicU64::new(0);

/// Why a link came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The connection is lost, or deaf.
    Lost(io::Error),
    /// Slots have moved: it has to be asked anew which server has which.
    Moved(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// At most so many reads are under way: their answers may be 64 KiB each, and updates wait behind them.
const READS: usize = 64;
/// A job's state is read now and then, since a plain PUBLISH can be lost without a trace.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// The first time sooner: today's worker may have been between its PUBLISH, which nobody heard, and its SETEX.
const READ_AGAIN_SOON: Duration = Duration::from_secs(1);

impl Link {
    pub(crate) fn new(
        context: Context,
        node: Node,
        queue: Arc<Queue>,
        socket: Socket,
        probe: String,
    ) -> Self {
        let since = context.clock.elapsed();
        let mut link = Self {
            context,
            node,
            queue,
            socket,
            asked: VecDeque::new(),
            reads: 0,
            subscribed: HashMap::new(),
            due: BTreeMap::new(),
            scheduled: HashMap::new(),
            serial: 0,
            key: LINKS.fetch_add(1, Ordering::Relaxed),
            takes: 0,
            probe,
            since,
            last_frame: since,
        };
        link.load();
        let channel = link.probe.clone();
        link.subscribe(&channel, None);
        link
    }

    /// Serves until the connection is lost.
    pub(crate) async fn run(mut self) -> Ended {
        match self.serve().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while self.reads < READS
                && let Some(job) = self.queue.pop()
            {
                self.look_at(job);
            }
            let queue = Arc::clone(&self.queue);
            tokio::select! {
                progress = self.socket.progress() => progress?,
                () = queue.added(), if self.reads < READS => {}
                _ = tick.tick() => self.tick()?,
            }
            while let Some(frame) = self.socket.next()? {
                self.last_frame = self.context.clock.elapsed();
                self.frame(frame)?;
            }
        }
    }

    /// Subscribes to the job and reads it, or leaves it, as it is wanted now.
    fn look_at(&mut self, job: JobId) {
        let Wish::Read { after } = self.context.watched.wish(&job) else {
            if self.subscribed.remove(&job).is_some() {
                let command = self.command("UNSUBSCRIBE", &self.context.names.channel(&job));
                self.socket.send(&command);
                self.asked.push_back(Asked::Unsubscribe(job));
            }
            return;
        };
        if !self.subscribed.contains_key(&job) {
            self.subscribed.insert(job.clone(), false);
            self.subscribe(&self.context.names.channel(&job), Some(job.clone()));
        }
        let most = self.context.retention.history.get();
        let read = Call::read(self.context.names, &job, after, most);
        self.socket.send(&read.command());
        self.asked.push_back(Asked::Read(job));
        self.reads += 1;
    }

    fn subscribe(&mut self, channel: &str, job: Option<JobId>) {
        let command = self.command("SUBSCRIBE", channel);
        self.socket.send(&command);
        self.asked.push_back(Asked::Subscribe(job));
    }

    /// `name`, or what it is called for the channels of a Cluster.
    fn command(&self, name: &str, channel: &str) -> redis::Cmd {
        let mut command = if self.context.names.is_cluster() {
            redis::cmd(&format!("S{name}"))
        } else {
            redis::cmd(name)
        };
        command.arg(channel);
        command
    }

    fn load(&mut self) {
        for script in Call::of_subscriptions() {
            self.socket.send(&script.load());
            self.asked.push_back(Asked::Load);
        }
    }

    /// Does what is to be done about a job.
    fn follow(&mut self, job: &JobId, heard: Heard) {
        match heard {
            Heard::Done => {}
            Heard::Gap => self.queue.push(job.clone()),
            Heard::Publish => self.take(job),
        }
    }

    /// Puts the job's next publish on its way.
    fn take(&mut self, job: &JobId) {
        loop {
            self.takes += 1;
            let key = TakeKey(self.key, self.takes);
            let Some(publish) = self.context.watched.take(job, key) else { return };
            let parsed = Update::parse(Some(job), publish.json().as_bytes());
            let Ok(update) = parsed.inspect_err(|reason| self.refuse(job, reason)) else {
                if self.context.watched.taken(job, key, None) == Heard::Gap {
                    self.queue.push(job.clone());
                }
                continue;
            };
            let Context { names, retention, clock, .. } = &self.context;
            let report = Report::new(&update, Some(publish.source()), clock.now());
            let call = Call::report(*names, &report, retention);
            self.socket.send(&call.command());
            self.asked.push_back(Asked::Take(job.clone(), key, update.attempt().map(u32::from)));
            return;
        }
    }

    fn frame(&mut self, frame: BytesFrame) -> Result<(), Ended> {
        match frame {
            BytesFrame::Push { data, .. } => self.push(data),
            frame => self.answer(frame),
        }
    }

    /// A message, or that a subscription begins or ends.
    fn push(&mut self, data: Vec<BytesFrame>) -> Result<(), Ended> {
        let mut parts = data.into_iter();
        let mut text = || parts.next().and_then(text_of);
        let (Some(kind), Some(channel)) = (text(), text()) else { return Ok(()) };
        match kind.as_str() {
            "message" | "smessage" => {
                if channel == self.probe {
                    if self.context.health.heard(&self.node, self.last_frame) {
                        tracing::info!(node = %self.node, "the subscription at Redis is back");
                    }
                } else if let (Some(job), Some(message)) =
                    (self.context.names.job_of(&channel), parts.next().and_then(bytes_of))
                {
                    self.message(&job, &message);
                }
                Ok(())
            }
            "subscribe" | "ssubscribe" => {
                if matches!(self.asked.front(), Some(Asked::Subscribe(_))) {
                    self.asked.pop_front();
                }
                Ok(())
            }
            "unsubscribe" | "sunsubscribe" => {
                let job = self.context.names.job_of(&channel);
                match self.asked.front() {
                    Some(Asked::Unsubscribe(asked)) if Some(asked) == job.as_ref() => {
                        self.asked.pop_front();
                        Ok(())
                    }
                    // Nobody asked for it: the channel's slot is on another server now.
                    _ => Err(Ended::Moved(format!("{} gave {channel} away", self.node))),
                }
            }
            _ => Ok(()),
        }
    }

    /// Something was published on the job's channel, by anybody.
    fn message(&mut self, job: &JobId, message: &[u8]) {
        /// What the fold adds to an update at most.
        const ADDED_BY_THE_FOLD: usize = 4 << 10;
        let limit = self.context.retention.max_update_bytes;
        if message.len() > limit.saturating_add(ADDED_BY_THE_FOLD) {
            self.refuse(job, &format!("it has more than {limit} bytes"));
            // If it is a state after all, from a reporter with another limit, a read finds it.
            return self.follow(job, Heard::Gap);
        }
        match std::str::from_utf8(message) {
            Ok(json) => match self.context.watched.message(job, json, self.key, self.last_frame) {
                Ok(heard) => self.follow(job, heard),
                Err(reason) => self.refuse(job, &reason),
            },
            Err(reason) => self.refuse(job, &reason),
        }
    }

    /// Refuses what a legacy worker has written.
    fn refuse(&self, job: &JobId, reason: &dyn std::fmt::Display) {
        self.context.refusals.update(job, reason, self.context.clock.elapsed());
    }

    /// What a legacy worker has set under the job's key, if it can be an update.
    fn legacy_value(&self, job: &JobId, value: Vec<u8>) -> Option<String> {
        let limit = self.context.retention.max_update_bytes;
        if value.len() > limit {
            self.refuse(job, &format!("it has more than {limit} bytes"));
            return None;
        }
        String::from_utf8(value).inspect_err(|reason| self.refuse(job, reason)).ok()
    }

    fn answer(&mut self, frame: BytesFrame) -> Result<(), Ended> {
        let Some(asked) = self.asked.pop_front() else {
            return Err(io::Error::other("an answer that nobody asked for").into());
        };
        if matches!(asked, Asked::Read(_)) {
            self.reads -= 1;
        }
        if let Some(error) = error_of(&frame) {
            let error = error.to_owned();
            return self.refused(asked, &error);
        }
        let answer = match frame {
            BytesFrame::Array { data, .. } => data.into_iter().map(bytes_of).collect(),
            frame => Some(bytes_of(frame).into_iter().collect()),
        };
        let answer = Answer(answer.unwrap_or_default());
        match asked {
            Asked::Read(job) => match Read::parse(answer, &job) {
                Ok(mut read) => {
                    let value = read.legacy_value.take();
                    let value = value.and_then(|value| self.legacy_value(&job, value));
                    let (heard, is_soon) = self.context.watched.read(&job, read, value, self.key);
                    self.follow(&job, heard);
                    self.read_again(job, is_soon);
                }
                Err(reason) => self.unreadable(Asked::Read(job), &reason.to_string()),
            },
            Asked::Take(job, key, named) => match Reply::parse(answer, named) {
                Ok(reply) => {
                    if let Reply::Refused(refusal) = &reply {
                        self.refuse(&job, refusal);
                    }
                    let heard = self.context.watched.taken(&job, key, Some(reply));
                    self.follow(&job, heard);
                }
                Err(reason) => {
                    self.unreadable(Asked::Take(job, key, named), &reason.to_string());
                }
            },
            Asked::Load | Asked::Subscribe(_) | Asked::Unsubscribe(_) => {}
        }
        Ok(())
    }

    /// What Redis answered for one job is that job's trouble alone.
    fn unreadable(&mut self, asked: Asked, reason: &str) {
        let (Asked::Read(job) | Asked::Take(job, ..) | Asked::Subscribe(Some(job))) = &asked else {
            return;
        };
        self.context.refusals.unreadable(job, &reason, self.context.clock.elapsed());
        match asked {
            Asked::Take(job, key, _) => {
                let heard = self.context.watched.taken(&job, key, None);
                self.follow(&job, heard);
            }
            Asked::Subscribe(Some(job)) => {
                self.subscribed.remove(&job);
                self.context.watched.unreadable(&job, reason);
            }
            Asked::Read(job) => {
                self.context.watched.unreadable(&job, reason);
                self.read_again(job, false);
            }
            _ => {}
        }
    }

    /// Redis answered with an error.
    fn refused(&mut self, asked: Asked, error: &str) -> Result<(), Ended> {
        let code = error.split(' ').next().unwrap_or_default();
        match (code, asked) {
            ("NOSCRIPT", asked @ (Asked::Read(_) | Asked::Take(..))) => {
                self.load();
                match asked {
                    Asked::Read(job) => self.look_at(job),
                    Asked::Take(job, ..) => {
                        self.context.watched.not_taken(&job);
                        self.take(&job);
                    }
                    _ => {}
                }
                Ok(())
            }
            ("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN", _) => {
                Err(Ended::Moved(format!("{}: {error}", self.node)))
            }
            ("OOM", Asked::Take(job, key, _)) => {
                // There is no memory for it; what comes next may find some.
                let heard = self.context.watched.taken(&job, key, None);
                self.follow(&job, heard);
                Ok(())
            }
            // This server has nothing for anybody now.
            ("READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH", _)
            | (_, Asked::Load | Asked::Subscribe(None) | Asked::Unsubscribe(_)) => {
                Err(io::Error::other(error.to_owned()).into())
            }
            (_, asked) => {
                self.unreadable(asked, error);
                Ok(())
            }
        }
    }

    /// Now and then: reads what is due, and sees whether the connection is deaf.
    fn tick(&mut self) -> Result<(), Ended> {
        let now = self.context.clock.elapsed();
        while self.reads < READS
            && let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let job = entry.remove();
            self.scheduled.remove(&job);
            if self.context.watched.contains(&job) {
                self.queue.push(job);
            }
        }
        if self.context.health.is_deaf(&self.node, self.since, now) {
            let silence = io::Error::new(io::ErrorKind::TimedOut, "the subscription is deaf");
            return Err(silence.into());
        }
        Ok(())
    }

    /// Reads the job again in a while; soon, where a legacy worker's value waits to be folded, or it was read for the first time.
    fn read_again(&mut self, job: JobId, is_soon: bool) {
        let Some(again) = self.subscribed.get_mut(&job) else { return };
        let soon = is_soon || !*again;
        *again = true;
        let after = if soon { READ_AGAIN_SOON } else { READ_AGAIN };
        let jitter = after.mul_f64(fastrand::f64() * 0.4 + 0.8);
        self.serial += 1;
        let entry = (self.context.clock.elapsed() + jitter, self.serial);
        if let Some(before) = self.scheduled.insert(job.clone(), entry) {
            self.due.remove(&before);
        }
        self.due.insert(entry, job);
    }
}
