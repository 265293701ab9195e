use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use milepost_broker::{Broker, Clock, ManualClock};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_hub::{Hub, HubLimits, Mode, Shard, Subscribe, Wire};
use milepost_protocol::{Epoch, Fold, JobId, Origin, State, Timestamp, Update, fold};
use milepost_server::websocket::frame;

/// A step of the path from a report to a watcher.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Reading an update of some 180 bytes.
    Parse,
    /// Folding it into the state before.
    Fold,
    /// Framing the state for WebSocket.
    Frame,
    /// Reading a job's newest state from its log.
    Log,
    /// Reporting: parsing, the fold, the embedded broker, the log. Nobody watches.
    Report,
    /// The same, and one watcher is sent the state.
    Deliver,
}

impl Operation {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "parse" => Self::Parse,
            "fold" => Self::Fold,
            "frame" => Self::Frame,
            "log" => Self::Log,
            "report" => Self::Report,
            "deliver" => Self::Deliver,
            _ => return None,
        })
    }

    pub(crate) fn run(self, times: u64) {
        match self {
            Self::Parse => (0..times).for_each(|_| drop(black_box(update()))),
            Self::Fold => {
                let (before, update) = (state(), update());
                (0..times).for_each(|_| drop(black_box(next(Some(&before), &update))));
            }
            Self::Frame => {
                let (state, mut out) = (state(), Vec::new());
                for _ in 0..times {
                    out.clear();
                    frame::text(black_box(state.json()), &mut out);
                }
            }
            Self::Log => read_log(times),
            Self::Report => report(times, false),
            Self::Deliver => report(times, true),
        }
    }
}

fn job() -> JobId {
    JobId::parse("job-00001").expect("a job id")
}

fn update() -> Update {
    let json = br#"{"status":"processing","stage":"rendering","progress":0.75,"message":"Rendering frame 1500/2000","timestamp":"2026-01-01T00:00:00.123456Z","metadata":{"current_frame":1500,"total_frames":2000}}"#;
    Update::parse(Some(&job()), black_box(json)).expect("an update")
}

fn next(before: Option<&State>, update: &Update) -> State {
    let now = Timestamp::from_micros(1_780_000_000_000_000);
    match fold(before, update, Origin::Report, Epoch(0x8f3a_6c01_d2e4_b597), now) {
        Ok(Fold::New(state)) => state,
        other => panic!("{other:?} is no new state"),
    }
}

fn state() -> State {
    next(None, &update())
}

/// A watcher's connection that takes everything.
struct Sink;

impl Wire for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }
    fn frame(state: &State, out: &mut Vec<u8>) {
        frame::text(state.json(), out);
    }
    fn ping(_: Option<&JobId>, _: Timestamp, _: &mut Vec<u8>) {}
    fn unreadable(_: &JobId, _: Timestamp, _: &mut Vec<u8>) {}
}

fn hub() -> (Arc<Embedded>, Hub, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Duration::from_secs(1_780_000_000)));
    let broker = Arc::new(Embedded::with_clock(Limits::default(), Arc::clone(&clock)));
    let hub = Hub::new(Arc::clone(&broker) as Arc<dyn Broker>, 1, HubLimits::default());
    (broker, hub, clock)
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

fn read_log(times: u64) {
    block_on(async {
        let (broker, hub, _) = hub();
        broker.report(update()).await.expect("it is taken");
        for _ in 0..times {
            let mut watch = hub.watch(&job(), None, Mode::All).await.expect("it attaches");
            assert_eq!(black_box(watch.poll()).len(), 1);
        }
    });
}

fn report(times: u64, watched: bool) {
    block_on(async {
        let (broker, hub, clock) = hub();
        let mailbox = Arc::clone(&hub.mailboxes()[0]);
        let mut shard = Shard::new(0, mailbox, clock, Duration::from_secs(5));
        if watched {
            let key = shard.admit(Sink, false);
            let lease = hub.topic(&job()).await.expect("it attaches");
            shard.subscribe(key, lease, Subscribe::default());
        }
        for _ in 0..times {
            broker.report(update()).await.expect("it is taken");
            shard.serve_in_place();
        }
        assert_eq!(shard.take_frames_sent(), if watched { times } else { 0 });
    });
}
