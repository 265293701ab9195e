//! A hub, one shard of it, and the wires that its watchers are behind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use milepost_broker::{Broker, Clock, ManualClock};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_hub::{
    CloseReason, Hub, HubLimits, Lease, LogLimits, Notice, Shard, Subscribe, WatcherKey, Wire,
};
use milepost_protocol::{JobId, State, Timestamp, Update};
use tokio::runtime::Runtime;

pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) fn job(id: &str) -> JobId {
    JobId::parse(id).expect("a job id")
}

/// What a wire has taken, and how much more it takes. Each frame is a line.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: Vec<u8>,
    pub(crate) room: usize,
    pub(crate) broken: bool,
    /// When room was made last.
    pub(crate) resumed: Duration,
    /// Where `bytes` ended after each write, and when that was.
    pub(crate) writes: Vec<(usize, Moment)>,
    now: Rc<RefCell<Moment>>,
    count: Rc<Cell<usize>>,
}

/// The time, and how many states each job has had.
#[derive(Clone, Default)]
pub(crate) struct Moment {
    pub(crate) time: Duration,
    pub(crate) states: BTreeMap<String, usize>,
}

pub(crate) type Pipes = Rc<RefCell<Pipe>>;

pub(crate) struct Line(Pipes);

impl Wire for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        pipe.count.set(pipe.count.get() + 1);
        if pipe.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if pipe.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(pipe.room);
        pipe.room -= taken;
        pipe.bytes.extend_from_slice(&bytes[..taken]);
        let now = pipe.now.borrow().clone();
        let end = pipe.bytes.len();
        pipe.writes.push((end, now));
        Ok(taken)
    }

    fn frame(state: &State, out: &mut Vec<u8>) {
        out.extend_from_slice(state.json().as_bytes());
        out.push(b'\n');
    }

    fn ping(job: Option<&JobId>, _: Timestamp, out: &mut Vec<u8>) {
        let job = job.map_or("none", JobId::as_str);
        out.extend_from_slice(format!("{{\"type\":\"ping\",\"of\":\"{job}\"}}\n").as_bytes());
    }

    fn notice(notice: Notice, job: &JobId, _: Timestamp, out: &mut Vec<u8>) {
        let kind = match notice {
            Notice::Unreadable => "unreadable",
            Notice::Forgotten => "forgotten",
        };
        out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"of\":\"{job}\"}}\n").as_bytes());
    }
}

impl Pipe {
    /// The whole frames so far, each with the moment at which it was begun, and what is left.
    pub(crate) fn frames(&self) -> (Vec<(&str, &Moment)>, &[u8]) {
        let mut frames = Vec::new();
        let (mut from, mut writes) = (0, self.writes.iter().peekable());
        while let Some(length) = self.bytes[from..].iter().position(|byte| *byte == b'\n') {
            while writes.next_if(|(end, _)| *end <= from).is_some() {}
            let (_, began) = writes.peek().expect("what was taken was written");
            let line = std::str::from_utf8(&self.bytes[from..from + length]).expect("text");
            frames.push((line, began));
            from += length + 1;
        }
        (frames, &self.bytes[from..])
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.frames().0.iter().map(|(line, _)| (*line).to_owned()).collect()
    }
}

pub(crate) struct Stage {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) broker: Arc<Embedded>,
    pub(crate) hub: Hub,
    pub(crate) shard: Shard<Line>,
    /// The writes of all wires.
    pub(crate) writes: Rc<Cell<usize>>,
    now: Rc<RefCell<Moment>>,
    runtime: Runtime,
}

impl Stage {
    pub(crate) fn new(log: LogLimits) -> Self {
        Self::with(HubLimits { log, ..HubLimits::default() })
    }

    pub(crate) fn with(limits: HubLimits) -> Self {
        let clock = Arc::new(ManualClock::at(Duration::from_secs(1_780_000_000)));
        let broker = Arc::new(Embedded::with_clock(Limits::default(), clock.clone()));
        let hub = Hub::new(broker.clone(), 1, limits);
        let mailbox = Arc::clone(&hub.mailboxes()[0]);
        let shard = Shard::new(0, mailbox, clock.clone(), PING_INTERVAL);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let stage =
            Self { clock, broker, hub, shard, writes: Rc::default(), now: Rc::default(), runtime };
        stage.pass(Duration::ZERO);
        stage
    }

    pub(crate) fn pass(&self, by: Duration) {
        self.clock.advance(by);
        self.now.borrow_mut().time = self.clock.elapsed();
    }

    pub(crate) fn lease(&self, id: &str) -> Lease {
        self.runtime.block_on(self.hub.topic(&job(id))).expect("the broker answers")
    }

    /// Lets the hub do what it has to do by itself, as far as no time passes.
    pub(crate) fn run_hub(&self) {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.hub.run() => {}
                () = tokio::task::yield_now() => {}
            }
        });
    }

    pub(crate) fn try_report(&self, id: &str, json: &str) -> Option<Arc<State>> {
        let update = Update::parse(Some(&job(id)), json.as_bytes()).expect("an update");
        let reported = self.runtime.block_on(self.broker.report(update)).ok()?;
        if reported.repeated {
            return None;
        }
        *self.now.borrow_mut().states.entry(id.to_owned()).or_default() += 1;
        Some(reported.state)
    }

    pub(crate) fn report(&self, id: &str, json: &str) -> Arc<State> {
        self.try_report(id, json).expect("the update is taken")
    }

    pub(crate) fn forget(&self, id: &str) -> bool {
        self.runtime.block_on(self.broker.forget(&job(id))).expect("the broker answers")
    }

    /// A watcher whose wire takes so many bytes before it blocks.
    pub(crate) fn admit(&mut self, room: usize, many: bool) -> (WatcherKey, Pipes) {
        let pipe = Pipe {
            room,
            now: Rc::clone(&self.now),
            count: Rc::clone(&self.writes),
            ..Pipe::default()
        };
        let pipe = Rc::new(RefCell::new(pipe));
        (self.shard.admit(Line(Rc::clone(&pipe)), many), pipe)
    }

    pub(crate) fn subscribe(&mut self, key: WatcherKey, id: &str, options: Subscribe) {
        let lease = self.lease(id);
        self.shard.subscribe(key, lease, options);
    }

    /// A watcher of one job whose wire never blocks.
    pub(crate) fn watch(&mut self, id: &str, options: Subscribe) -> (WatcherKey, Pipes) {
        let (key, pipe) = self.admit(usize::MAX, false);
        self.subscribe(key, id, options);
        (key, pipe)
    }

    /// Lets a wire take so many bytes more.
    pub(crate) fn make_room(&mut self, key: WatcherKey, pipe: &Pipes, bytes: usize) {
        {
            let mut pipe = pipe.borrow_mut();
            pipe.room = pipe.room.saturating_add(bytes);
            pipe.resumed = self.clock.elapsed();
        }
        self.shard.writable(key);
    }

    /// Serves until there is no more to do now; how often that took.
    pub(crate) fn drain(&mut self) -> usize {
        let mut turns = 1;
        while self.shard.serve() {
            turns += 1;
            assert!(turns < 10_000, "serving comes to an end");
        }
        turns
    }

    pub(crate) fn gone(&mut self) -> Vec<(WatcherKey, CloseReason)> {
        self.shard.take_closed()
    }
}
