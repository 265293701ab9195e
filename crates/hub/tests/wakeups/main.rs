//! No wake-up is lost between a topic that is notified of a state and the shards and watches that have to show it:
//! the hub's own sources, with loom's locks in the place of the standard library's, in every order in which
//! threads can meet. A lost wake-up is a deadlock here, which loom reports.
//!
//! `LOOM_MAX_PREEMPTIONS` and loom's other variables say how far it looks; see its documentation.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the hub's modules as they are, of which each model needs a part"
)]

#[path = "../../src/batch.rs"]
mod batch;
#[path = "../../src/hub.rs"]
mod hub;
#[path = "../../src/idle.rs"]
mod idle;
#[path = "../../src/lease.rs"]
mod lease;
#[path = "../../src/log.rs"]
mod log;
#[path = "../../src/mailbox.rs"]
mod mailbox;
#[path = "../../src/pace.rs"]
mod pace;
#[path = "../../src/ping.rs"]
mod ping;
#[path = "../../src/public.rs"]
mod public;
#[path = "../../src/rate.rs"]
mod rate;
#[path = "../../src/render.rs"]
mod render;
#[path = "../../src/shard/mod.rs"]
mod shard;
mod sync;
#[path = "../../src/topic.rs"]
mod topic;
#[path = "../../src/watch.rs"]
mod watch;
#[path = "../../src/watcher.rs"]
mod watcher;

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use milepost_broker::{
    Broker, History, Jobs, JobsQuery, Listener, ManualClock, ReportError, Reported, RequestError,
    Stats, Unavailable,
};
use milepost_protocol::{JobId, Request, State, Timestamp, Update};

use crate::hub::{Hub, HubLimits};
use crate::log::Mode;
use crate::shard::Shard;
use crate::topic::Notice;
use crate::watcher::{Subscribe, Wire};

/// Attaches at once without states: the models notify the topics themselves.
struct Silent;

#[async_trait]
impl Broker for Silent {
    async fn report(&self, _: Update) -> Result<Reported, ReportError> {
        unreachable!("nobody reports here")
    }
    async fn request(&self, _: &JobId, _: Request) -> Result<Reported, RequestError> {
        unreachable!("nobody requests here")
    }
    async fn state(&self, _: &JobId) -> Result<Option<Arc<State>>, Unavailable> {
        Ok(None)
    }
    async fn history(&self, _: &JobId) -> Result<History, Unavailable> {
        Ok(History::default())
    }
    async fn attach(&self, _: &JobId, _: Arc<dyn Listener>) -> Result<(), Unavailable> {
        Ok(())
    }
    async fn detach(&self, _: &JobId, _: &Arc<dyn Listener>) {}
    async fn forget(&self, _: &JobId) -> Result<bool, Unavailable> {
        Ok(false)
    }
    async fn jobs(&self, _: &JobsQuery) -> Result<Jobs, Unavailable> {
        Ok(Jobs::default())
    }
    async fn probe(&self) -> Result<(), Unavailable> {
        Ok(())
    }
    fn stats(&self) -> Stats {
        Stats::default()
    }
    async fn run(&self, _: tokio::sync::watch::Receiver<bool>) {}
}

/// Notes the numbers of the states that it is shown.
#[derive(Clone, Default)]
struct Shown(Rc<RefCell<Vec<u8>>>);

impl Shown {
    fn newest(&self) -> u8 {
        self.0.borrow().last().copied().unwrap_or(0)
    }
}

impl Wire for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn frame(state: &State, out: &mut Vec<u8>) {
        out.push(u8::try_from(state.position().number).expect("few states"));
    }
    fn ping(_: Option<&JobId>, _: Timestamp, _: &mut Vec<u8>) {}
    fn notice(_: Notice, _: &JobId, _: Timestamp, _: &mut Vec<u8>) {}
}

fn job() -> JobId {
    JobId::parse("a").expect("a job id")
}

fn state(number: u8) -> Arc<State> {
    let json =
        format!(r#"{{"job_id":"a","status":"processing","attempt":1,"position":"1-{number}"}}"#);
    Arc::new(State::parse(&json).expect("a state"))
}

/// What the hub waits for here blocks its thread instead.
fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something that no thread brings about"),
    }
}

fn hub(shards: usize) -> Hub {
    Hub::new(Arc::new(Silent), shards, HubLimits::default())
}

fn shard(hub: &Hub, index: usize) -> Shard<Shown> {
    let mailbox = Arc::clone(&hub.mailboxes()[index]);
    let clock = Arc::new(ManualClock::at(Duration::ZERO));
    Shard::new(index, mailbox, clock, Duration::from_secs(5))
}

/// Serves as a reactor does, until the newest state is shown.
fn serve_until(hub: &Hub, shard: &mut Shard<Shown>, index: usize, shown: &Shown, newest: u8) {
    loop {
        while shard.serve() {}
        if shown.newest() == newest {
            return;
        }
        done(hub.mailboxes()[index].arrived());
    }
}

fn assert_in_order(shown: &Shown) {
    assert!(shown.0.borrow().is_sorted_by(|earlier, later| earlier < later), "{:?}", shown.0);
}

fn send_updates(
    topic: Arc<dyn Listener>,
    numbers: std::ops::RangeInclusive<u8>,
) -> loom::thread::JoinHandle<()> {
    loom::thread::spawn(move || numbers.for_each(|number| topic.update(&state(number))))
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}

#[test]
fn a_shard_shows_the_newest_of_states_that_come_while_it_serves() {
    check(|| {
        let hub = hub(1);
        let (mut shard, shown) = (shard(&hub, 0), Shown::default());
        let key = shard.admit(shown.clone(), false);
        let lease = done(hub.topic(&job())).expect("it attaches");
        let topic = Arc::clone(lease.topic());
        shard.subscribe(key, lease, Subscribe::default());
        let sending = send_updates(topic, 1..=3);
        serve_until(&hub, &mut shard, 0, &shown, 3);
        assert_in_order(&shown);
        sending.join().expect("it sent all");
    });
}

#[test]
fn a_watcher_that_comes_between_two_states_gets_the_newest() {
    check(|| {
        let hub = hub(1);
        let (mut shard, shown) = (shard(&hub, 0), Shown::default());
        let key = shard.admit(shown.clone(), false);
        let lease = done(hub.topic(&job())).expect("it attaches");
        let sending = send_updates(Arc::clone(lease.topic()) as Arc<dyn Listener>, 1..=2);
        shard.subscribe(key, lease, Subscribe::default());
        serve_until(&hub, &mut shard, 0, &shown, 2);
        assert_in_order(&shown);
        sending.join().expect("it sent all");
    });
}

#[test]
fn a_watcher_that_subscribes_anew_meanwhile_gets_the_newest() {
    check(|| {
        let hub = hub(1);
        let (mut shard, shown) = (shard(&hub, 0), Shown::default());
        let key = shard.admit(shown.clone(), true);
        let lease = done(hub.topic(&job())).expect("it attaches");
        shard.subscribe(key, lease.clone(), Subscribe::default());
        let sending = send_updates(Arc::clone(lease.topic()) as Arc<dyn Listener>, 1..=2);
        assert!(shard.unsubscribe(key, &job()));
        shard.serve();
        // What it saw before is shown again: it does not say since when.
        shown.0.borrow_mut().clear();
        shard.subscribe(key, lease, Subscribe::default());
        serve_until(&hub, &mut shard, 0, &shown, 2);
        assert_in_order(&shown);
        sending.join().expect("it sent all");
    });
}

#[test]
fn every_shard_is_woken() {
    check(|| {
        let hub = hub(2);
        let lease = done(hub.topic(&job())).expect("it attaches");
        let mut shards = [shard(&hub, 0), shard(&hub, 1)];
        let shown = [Shown::default(), Shown::default()];
        for (shard, shown) in shards.iter_mut().zip(&shown) {
            let key = shard.admit(shown.clone(), false);
            shard.subscribe(key, lease.clone(), Subscribe::default());
        }
        let sending = send_updates(Arc::clone(lease.topic()) as Arc<dyn Listener>, 1..=2);
        for (index, (shard, shown)) in shards.iter_mut().zip(&shown).enumerate() {
            serve_until(&hub, shard, index, shown, 2);
            assert_in_order(shown);
        }
        sending.join().expect("it sent all");
    });
}

#[test]
fn states_from_two_threads_wake_once_or_twice_but_never_not() {
    check(|| {
        let hub = hub(1);
        let (mut shard, shown) = (shard(&hub, 0), Shown::default());
        let key = shard.admit(shown.clone(), true);
        let other = JobId::parse("b").expect("a job id");
        let leases = [&job(), &other].map(|job| done(hub.topic(job)).expect("it attaches"));
        let sending = [0, 1].map(|index| {
            shard.subscribe(key, leases[index].clone(), Subscribe::default());
            send_updates(Arc::clone(leases[index].topic()) as Arc<dyn Listener>, 1..=1)
        });
        loop {
            while shard.serve() {}
            if shown.0.borrow().len() == 2 {
                break;
            }
            done(hub.mailboxes()[0].arrived());
        }
        for sending in sending {
            sending.join().expect("it sent all");
        }
    });
}

/// A shard that its task and reporting threads share, as the server's do.
#[derive(Clone)]
struct SharedShard(Arc<loom::sync::Mutex<Shard<SharedShown>>>);

/// As [`Shown`], for shards that several threads serve.
#[derive(Clone, Default)]
struct SharedShown(Arc<std::sync::Mutex<Vec<u8>>>);

impl SharedShown {
    fn all(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Wire for SharedShown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn frame(state: &State, out: &mut Vec<u8>) {
        Shown::frame(state, out);
    }
    fn ping(_: Option<&JobId>, _: Timestamp, _: &mut Vec<u8>) {}
    fn notice(_: Notice, _: &JobId, _: Timestamp, _: &mut Vec<u8>) {}
}

impl SharedShard {
    fn new(hub: &Hub, index: usize) -> Self {
        let mailbox = Arc::clone(&hub.mailboxes()[index]);
        let clock = Arc::new(ManualClock::at(Duration::ZERO));
        let shard = Shard::new(index, mailbox, clock, Duration::from_secs(5));
        Self(Arc::new(loom::sync::Mutex::new(shard)))
    }

    fn watch(&self, lease: &lease::Lease) -> SharedShown {
        let shown = SharedShown::default();
        let mut shard = self.0.lock().expect("no panic");
        let key = shard.admit(shown.clone(), false);
        shard.subscribe(key, lease.clone(), Subscribe::default());
        shown
    }

    fn serve_in_place(&self) -> bool {
        self.0.try_lock().is_ok_and(|mut shard| shard.serve_in_place())
    }

    /// Serves as the shard's task does, until the newest state is shown, whoever shows it.
    fn serve_until(&self, hub: &Hub, index: usize, shown: &SharedShown, newest: u8) {
        loop {
            while self.0.lock().expect("no panic").serve() {}
            if shown.all().last() == Some(&newest) {
                return;
            }
            done(hub.mailboxes()[index].arrived());
        }
    }
}

/// Reports in one batch, as the poll of a connection does. If that has shown `shown` its newest state, the shard's task,
/// which waits for nothing more, is let go.
fn report_in_batch(
    hub: &Arc<Hub>,
    lease: &lease::Lease,
    (shard, shown): (&SharedShard, &SharedShown),
    numbers: std::ops::RangeInclusive<u8>,
) -> loom::thread::JoinHandle<()> {
    let (hub, shard, shown) = (Arc::clone(hub), shard.clone(), shown.clone());
    let topic = Arc::clone(lease.topic());
    loom::thread::spawn(move || {
        let newest = *numbers.end();
        let report = || numbers.for_each(|number| topic.update(&state(number)));
        hub.batch(report, |_| shard.serve_in_place());
        if shown.all().last() == Some(&newest) {
            hub.mailboxes()[0].wake();
        }
    })
}

#[test]
fn a_batch_shows_its_states_or_wakes_the_shard() {
    check(|| {
        let hub = Arc::new(hub(1));
        let lease = done(hub.topic(&job())).expect("it attaches");
        let shard = SharedShard::new(&hub, 0);
        let shown = shard.watch(&lease);
        let reporting = report_in_batch(&hub, &lease, (&shard, &shown), 1..=2);
        shard.serve_until(&hub, 0, &shown, 2);
        reporting.join().expect("it reported all");
        assert!(shown.all().is_sorted_by(|earlier, later| earlier < later), "{:?}", shown.all());
    });
}

#[test]
fn a_report_that_relies_on_another_threads_batch_is_shown() {
    check(|| {
        let hub = Arc::new(hub(1));
        let lease = done(hub.topic(&job())).expect("it attaches");
        let other = done(hub.topic(&JobId::parse("b").expect("a job id"))).expect("it attaches");
        let shard = SharedShard::new(&hub, 0);
        let shown = [shard.watch(&lease), shard.watch(&other)];
        let sending = send_updates(Arc::clone(other.topic()) as Arc<dyn Listener>, 1..=1);
        let reporting = report_in_batch(&hub, &lease, (&shard, &shown[1]), 1..=1);
        shard.serve_until(&hub, 0, &shown[1], 1);
        reporting.join().expect("it reported");
        sending.join().expect("it sent it");
    });
}

#[test]
fn two_batches_serve_one_shard() {
    check(|| {
        let hub = Arc::new(hub(1));
        let lease = done(hub.topic(&job())).expect("it attaches");
        let other = done(hub.topic(&JobId::parse("b").expect("a job id"))).expect("it attaches");
        let shard = SharedShard::new(&hub, 0);
        let shown = [shard.watch(&lease), shard.watch(&other)];
        let reporting = [(&lease, &shown[0]), (&other, &shown[1])]
            .map(|(lease, shown)| report_in_batch(&hub, lease, (&shard, shown), 1..=1));
        for shown in &shown {
            shard.serve_until(&hub, 0, shown, 1);
        }
        for reporting in reporting {
            reporting.join().expect("it reported");
        }
    });
}

#[test]
fn a_watch_gets_every_state() {
    check(|| {
        let hub = hub(1);
        let lease = done(hub.topic(&job())).expect("it attaches");
        let sending = send_updates(Arc::clone(lease.topic()) as Arc<dyn Listener>, 1..=3);
        let mut watch = done(hub.watch(&job(), None, Mode::All)).expect("it attaches");
        let mut newest = 0;
        while newest < 3 {
            for state in done(watch.next()).expect("it is not shed") {
                assert!(newest == 0 || state.position().number == newest + 1);
                newest = state.position().number;
            }
        }
        sending.join().expect("it sent all");
    });
}
