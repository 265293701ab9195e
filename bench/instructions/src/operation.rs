use std::hint::black_box;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use milepost_access::{
    Key, KeyRing, Pattern, Permissions, TokenKeys, TokenRules, TokenVerifier, sign,
};
use milepost_broker::{Broker, Clock, JobsQuery, ManualClock};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_hub::{Hub, HubLimits, Mode, Notice, Shard, Subscribe, Wire};
use milepost_protocol::{Epoch, Fold, JobId, Origin, State, Timestamp, Update, fold};
use milepost_server::websocket::frame;
use milepost_server::{Config, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

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
    /// Reporting over HTTP, one report after the other, with the client's side.
    Post,
    /// The same, with a key.
    PostWithKey,
    /// Ending one of a watcher's 1,000 subscriptions, and subscribing it to the same job again.
    Subscribe,
    /// Judging a watcher's token (HS256), where there is a key as well.
    Token,
    /// Reading the first 100 jobs of many, without a filter.
    List,
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
            "post" => Self::Post,
            "post-key" => Self::PostWithKey,
            "subscribe" => Self::Subscribe,
            "token" => Self::Token,
            "list" => Self::List,
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
            Self::Post => post(times, None),
            Self::PostWithKey => {
                post(times, Some("a key that is as long as those that are generated"));
            }
            Self::Subscribe => subscribe(times),
            Self::Token => judge_token(times),
            Self::List => list(times),
        }
    }
}

fn job() -> JobId {
    JobId::parse("job-00001").expect("a job id")
}

const UPDATE: &[u8] = br#"{"status":"processing","stage":"rendering","progress":0.75,"message":"Rendering frame 1500/2000","timestamp":"2026-01-01T00:00:00.123456Z","metadata":{"current_frame":1500,"total_frames":2000}}"#;

fn update() -> Update {
    Update::parse(Some(&job()), black_box(UPDATE)).expect("an update")
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
    fn notice(_: Notice, _: &JobId, _: Timestamp, _: &mut Vec<u8>) {}
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

fn post(times: u64, key: Option<&str>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        client.set_nodelay(true).expect("the option exists");
        let config = Config {
            shards: NonZeroUsize::new(1),
            drain_period: 0.0,
            grace_period: 1.0,
            key: key.map(Secret::new),
            ..Config::default()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(milepost_server::run(config, listener, async {
            let _ = stopped.await;
        }));
        let credential =
            key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
        let head = format!(
            "POST /jobs/{} HTTP/1.1\r\nhost: 127.0.0.1\r\n{credential}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            job(),
            UPDATE.len()
        );
        let request = [head.as_bytes(), UPDATE].concat();
        let mut answer = [0; 1024];
        for _ in 0..times {
            client.write_all(&request).await.expect("the server reads");
            let read = client.read(&mut answer).await.expect("the server answers");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
        }
        drop((client, stop));
        server.await.expect("it does not panic").expect("it served");
    });
}

/// In seconds since 1970.
const NOW: f64 = 1_780_000_000.0;

fn subscribe(times: u64) {
    let (_broker, hub, clock) = hub();
    let mut shard: Shard<Sink> =
        Shard::new(0, Arc::clone(&hub.mailboxes()[0]), clock, Duration::from_secs(15));
    let watcher = shard.admit(Sink, true);
    let jobs: Vec<_> = (0..1_000)
        .map(|number| JobId::parse(&format!("job-{number:05}")).expect("a job id"))
        .collect();
    let leases: Vec<_> =
        jobs.iter().map(|job| block_on(hub.topic(job)).expect("a topic")).collect();
    for lease in &leases {
        shard.subscribe(watcher, lease.clone(), Subscribe::default());
    }
    for (job, lease) in jobs.iter().zip(&leases).cycle().take(usize::try_from(times).expect("few"))
    {
        assert!(shard.unsubscribe(watcher, black_box(job)));
        shard.subscribe(watcher, lease.clone(), Subscribe::default());
    }
}

fn judge_token(times: u64) {
    let (secret, rules) = ("a secret of at least 32 bytes for tokens", TokenRules::default());
    let pattern = Pattern::parse("user:42:*").expect("a pattern");
    let watches = Permissions { watch: vec![pattern], ..Permissions::default() };
    let token = sign(secret, watches, Some("42".into()), &rules, NOW + 900.0).expect("a token");
    let mut keys = KeyRing::default();
    keys.add(Key::of_secret("key", "a key that is long enough", Permissions::all()))
        .expect("a key");
    let tokens = TokenVerifier::new(TokenKeys::secret(secret).expect("a secret"), rules);
    for _ in 0..times {
        let token = black_box(token.as_str());
        assert!(keys.find(token).is_none());
        tokens.verify(token, NOW).expect("it is valid");
    }
}

fn list(times: u64) {
    /// Among a million, the same page took 250,351 instructions, but making so many jobs takes minutes here.
    const JOBS: usize = 10_000;
    /// What a page takes varies by some percent with the seeds of a broker's hash tables: so there are several, in turns.
    const BROKERS: usize = 6;
    block_on(async {
        let mut brokers = Vec::new();
        for _ in 0..BROKERS {
            brokers.push(with_jobs(JOBS).await);
        }
        let query = JobsQuery { limit: 100, ..JobsQuery::default() };
        for (_, broker) in (0..times).zip(brokers.iter().cycle()) {
            let page = broker.jobs(black_box(&query)).await.expect("a page");
            assert_eq!((page.states.len(), page.total), (100, JOBS));
        }
    });
}

async fn with_jobs(number: usize) -> Embedded {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_780_000_000)));
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    let broker = Embedded::with_clock(limits, Arc::clone(&clock) as Arc<dyn Clock>);
    for number in 0..number {
        let job = JobId::parse(&format!("job-{number}")).expect("a job id");
        let update = Update::parse(Some(&job), b"{}").expect("an update");
        broker.report(update).await.expect("it is taken");
        clock.advance(Duration::from_micros(1));
    }
    broker
}
