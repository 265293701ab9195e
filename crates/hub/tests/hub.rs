//! A hub's topics and watches, over a broker whose answers the test holds back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use milepost_broker::{
    Broker, History, Jobs, JobsQuery, Listener, ReportError, Reported, RequestError, Stats,
    Unavailable,
};
use milepost_hub::{Hub, HubLimits, Mode, Notice, WatchError};
use milepost_protocol::{JobId, Position, Request, State, Update, View};
use tokio::sync::oneshot;

const LINGER: Duration = Duration::from_secs(10);

fn job(id: &str) -> JobId {
    JobId::parse(id).expect("a job id")
}

fn state(epoch: u64, number: u64, status: &str) -> Arc<State> {
    let json = format!(
        r#"{{"job_id":"a","status":"{status}","attempt":1,"position":"{epoch}-{number}"}}"#
    );
    Arc::new(State::parse(&json).expect("a state"))
}

/// What the next `attach` is to do.
enum Attach {
    Fail,
    /// The listener is attached at once, but the answer comes when the test sends it.
    Hold(oneshot::Receiver<()>),
}

#[derive(Default)]
struct Fake {
    states: Mutex<Vec<Arc<State>>>,
    listeners: Mutex<HashMap<JobId, Arc<dyn Listener>>>,
    next: Mutex<VecDeque<Attach>>,
    calls: Mutex<Vec<String>>,
    /// Reads fail.
    is_away: AtomicBool,
}

impl Fake {
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("no panic"))
    }

    fn next(&self, attach: Attach) {
        self.next.lock().expect("no panic").push_back(attach);
    }

    fn hold(&self) -> oneshot::Sender<()> {
        let (answer, held) = oneshot::channel();
        self.next(Attach::Hold(held));
        answer
    }

    /// A state of job `a`.
    fn notify(&self, state: &Arc<State>) {
        self.states.lock().expect("no panic").push(Arc::clone(state));
        let listener = self.listeners.lock().expect("no panic").get(&job("a")).cloned();
        listener.expect("somebody listens").update(state);
    }
}

#[async_trait]
impl Broker for Fake {
    async fn report(&self, _: Update) -> Result<Reported, ReportError> {
        unreachable!("nobody reports here")
    }
    async fn request(&self, _: &JobId, _: Request) -> Result<Reported, RequestError> {
        unreachable!("nobody requests here")
    }
    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable> {
        self.calls.lock().expect("no panic").push(format!("read {job}"));
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Unavailable::Backend("on purpose".to_owned()));
        }
        Ok(self.states.lock().expect("no panic").last().cloned())
    }
    async fn history(&self, _: &JobId) -> Result<History, Unavailable> {
        unreachable!("the hub listens")
    }
    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable> {
        self.calls.lock().expect("no panic").push(format!("attach {job}"));
        let next = self.next.lock().expect("no panic").pop_front();
        if matches!(next, Some(Attach::Fail)) {
            return Err(Unavailable::Backend("on purpose".to_owned()));
        }
        listener.attached(&self.states.lock().expect("no panic"));
        self.listeners.lock().expect("no panic").insert(job.clone(), listener);
        if let Some(Attach::Hold(held)) = next {
            held.await.map_err(|_| Unavailable::Backend("the answer was lost".to_owned()))?;
        }
        Ok(())
    }
    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) {
        let mut listeners = self.listeners.lock().expect("no panic");
        let attached = listeners.get(job).is_some_and(|attached| Arc::ptr_eq(attached, listener));
        if attached {
            listeners.remove(job);
        }
        let which = if attached { "detach" } else { "detach the old one of" };
        self.calls.lock().expect("no panic").push(format!("{which} {job}"));
    }
    async fn forget(&self, _: &JobId) -> Result<bool, Unavailable> {
        unreachable!("nobody forgets here")
    }
    async fn jobs(&self, _: &JobsQuery) -> Result<Jobs, Unavailable> {
        unreachable!("nobody lists here")
    }
    async fn probe(&self) -> Result<(), Unavailable> {
        Ok(())
    }
    fn stats(&self) -> Stats {
        Stats::default()
    }
    async fn run(&self, _: tokio::sync::watch::Receiver<bool>) {}
}

/// A hub that is running, on tokio's paused clock.
fn hub() -> (Arc<Fake>, Arc<Hub>) {
    hub_with(HubLimits::default())
}

fn hub_with(limits: HubLimits) -> (Arc<Fake>, Arc<Hub>) {
    let fake = Arc::new(Fake::default());
    let limits = HubLimits { linger: LINGER, ..limits };
    let hub = Arc::new(Hub::new(fake.clone(), 2, limits));
    let running = Arc::clone(&hub);
    tokio::spawn(async move { running.run().await });
    (fake, hub)
}

fn numbers(states: &[Arc<State>]) -> Vec<u64> {
    states.iter().map(|state| state.position().number).collect()
}

#[tokio::test(start_paused = true)]
async fn one_topic_for_all_its_watchers() {
    let (fake, hub) = hub();
    assert_eq!(hub.watched(), 0);
    let first = hub.topic(&job("a")).await.expect("it attaches");
    let second = hub.topic(&job("a")).await.expect("it is there");
    let other = hub.topic(&job("b")).await.expect("it attaches");
    let third = second.clone();
    assert_eq!(hub.watched(), 2);
    assert_eq!(fake.calls(), ["attach a", "attach b"]);
    drop((first, second));
    assert_eq!(hub.watched(), 2);
    drop((third, other));
    assert_eq!(hub.watched(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_let_go_a_while_after_its_last_watcher() {
    let (fake, hub) = hub();
    for _ in 0..3 {
        // Who comes back in time costs the broker nothing.
        let lease = hub.topic(&job("a")).await.expect("it attaches");
        drop(lease);
        tokio::time::sleep(LINGER / 2).await;
    }
    assert_eq!(fake.calls(), ["attach a"]);
    tokio::time::sleep(3 * LINGER).await;
    assert_eq!(fake.calls(), ["detach a"]);
    assert!(fake.listeners.lock().expect("no panic").is_empty());

    let _lease = hub.topic(&job("a")).await.expect("it attaches");
    tokio::time::sleep(10 * LINGER).await;
    assert_eq!(fake.calls(), ["attach a"], "as long as somebody watches it stays");
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_job_is_let_go_is_attached_anew() {
    let (fake, hub) = hub();
    drop(hub.topic(&job("a")).await.expect("it attaches"));
    // Whenever the new one comes, it is attached in the end.
    for wait in [LINGER, LINGER + Duration::from_millis(1), 2 * LINGER, 2 * LINGER] {
        tokio::time::sleep(wait).await;
        let mut watch = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches");
        watch.poll();
        let number = fake.states.lock().expect("no panic").len() as u64 + 1;
        fake.notify(&state(1, number, "processing"));
        assert_eq!(numbers(&watch.next().await.expect("it is not shed")), [number]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_seen_more_than_there_is_waits_for_it() {
    let (fake, hub) = hub();
    let mut first = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches");
    fake.notify(&state(1, 1, "processing"));
    assert_eq!(numbers(&first.next().await.expect("it is not shed")), [1]);
    let since = Some(state(1, 3, "processing").position());
    let comes = {
        let hub = Arc::clone(&hub);
        tokio::spawn(async move { hub.watch(&job("a"), since, Mode::All).await })
    };
    for number in [2, 3, 4] {
        tokio::task::yield_now().await;
        fake.notify(&state(1, number, "processing"));
    }
    let mut second = comes.await.expect("no panic").expect("it attaches");
    assert_eq!(
        numbers(&second.next().await.expect("it is not shed")),
        [4],
        "nothing that it has seen is shown again"
    );

    // What it has seen was lost: it does not wait for ever.
    let lost = Some(state(1, 99, "processing").position());
    let mut third = hub.watch(&job("a"), lost, Mode::All).await.expect("it attaches");
    fake.notify(&state(1, 5, "processing"));
    assert_eq!(numbers(&third.next().await.expect("it is not shed")), [5]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_cut_off_shows_no_earlier_epoch() {
    let (fake, hub) = hub();
    let mut first = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches");
    fake.notify(&state(1, 1, "processing"));
    assert_eq!(numbers(&first.next().await.expect("it is not shed")), [1]);
    let seen_elsewhere = Some(state(2, 1, "processing").position());
    let id = job("a");
    let comes = || hub.watch(&id, seen_elsewhere, Mode::All);

    fake.is_away.store(true, Ordering::Relaxed);
    let refused = comes().await.err();
    assert_eq!(refused, Some(Unavailable::Backend("on purpose".to_owned()).into()));
    fake.is_away.store(false, Ordering::Relaxed);
    // The broker has the watcher's epoch, and this instance has not heard of it.
    fake.states.lock().expect("no panic").push(state(2, 1, "processing"));
    assert!(comes().await.is_err(), "it is still behind after a second");
    let notified = async {
        tokio::task::yield_now().await;
        fake.notify(&state(2, 2, "processing"));
    };
    let (second, ()) = tokio::join!(comes(), notified);
    assert_eq!(
        numbers(&second.expect("it has caught up").next().await.expect("it is not shed")),
        [2]
    );

    // A job that has left the watcher's epoch here: the broker need not be asked.
    fake.calls();
    let left = Some(state(1, 1, "processing").position());
    let mut third = hub.watch(&job("a"), left, Mode::All).await.expect("it is there");
    assert_eq!(numbers(&third.poll()), [2]);
    assert_eq!(fake.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_next_one_tries_again() {
    let (fake, hub) = hub();
    fake.next(Attach::Fail);
    fake.next(Attach::Fail);
    for _ in 0..2 {
        let error = hub.topic(&job("a")).await.err().expect("it fails");
        assert_eq!(error, Unavailable::Backend("on purpose".to_owned()).into());
    }
    assert_eq!(hub.watched(), 0);
    let mut watch = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches now");
    fake.notify(&state(1, 1, "processing"));
    assert_eq!(numbers(&watch.next().await.expect("it is not shed")), [1]);
    assert_eq!(fake.calls(), ["attach a"; 3]);
}

#[tokio::test(start_paused = true)]
async fn many_that_come_at_once_attach_once() {
    let (fake, hub) = hub();
    let answer = fake.hold();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let hub = Arc::clone(&hub);
            tokio::spawn(async move { hub.topic(&job("a")).await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    answer.send(()).expect("somebody waits");
    for waiting in waiting {
        waiting.await.expect("no panic").expect("it attaches");
    }
    assert_eq!(fake.calls(), ["attach a"]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_nothing_behind() {
    let (fake, hub) = hub();
    *fake.states.lock().expect("no panic") =
        vec![state(1, 7, "failed"), state(2, 1, "processing"), state(2, 2, "processing")];
    let _never = fake.hold();
    let attaching = tokio::time::timeout(LINGER / 2, hub.topic(&job("a"))).await;
    assert!(attaching.is_err());
    assert_eq!(hub.watched(), 0);

    // The topic is attached already, and is notified of all of it again. Watchers receive nothing twice.
    let mut watch =
        hub.watch(&job("a"), Position::parse("1-6"), Mode::All).await.expect("it attaches");
    assert_eq!(fake.calls(), ["attach a", "attach a"]);
    assert_eq!(numbers(&watch.poll()), [2], "of another epoch: the present state");
    let mut resumed =
        hub.watch(&job("a"), Position::parse("2-1"), Mode::All).await.expect("it is there");
    assert_eq!(numbers(&resumed.poll()), [2]);
    assert_eq!(watch.topic().state(), Some(state(2, 2, "processing")));

    fake.notify(&state(2, 3, "processing"));
    assert_eq!(numbers(&watch.poll()), [3]);
    drop((watch, resumed));
    tokio::time::sleep(3 * LINGER).await;
    assert_eq!(fake.calls(), ["detach a"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_attached_again_makes_no_step_back() {
    let (fake, hub) = hub();
    let mut watch = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches");
    let epochs = |states: Vec<Arc<State>>| -> Vec<String> {
        states.iter().map(|state| state.position().to_string()).collect()
    };
    fake.notify(&state(1, 1, "processing"));
    fake.notify(&state(1, 2, "failed"));
    fake.notify(&state(2, 1, "processing"));
    assert_eq!(epochs(watch.poll()), ["1-1", "1-2", "2-1"]);
    let topic = fake.listeners.lock().expect("no panic")[&job("a")].clone();
    let anew = |positions: &[(u64, u64)]| {
        let states: Vec<_> =
            positions.iter().map(|(epoch, number)| state(*epoch, *number, "processing")).collect();
        topic.attached(&states);
    };
    // After a lost connection: the same again, the same and more, a part of it, a gap, none of it.
    anew(&[(1, 1), (1, 2), (2, 1)]);
    assert_eq!(epochs(watch.poll()), [""; 0]);
    anew(&[(1, 2), (2, 1), (2, 2), (2, 3)]);
    assert_eq!(epochs(watch.poll()), ["2-2", "2-3"]);
    anew(&[(1, 2), (2, 1), (2, 2)]);
    assert_eq!(epochs(watch.poll()), [""; 0]);
    anew(&[(1, 2), (2, 9)]);
    assert_eq!(epochs(watch.poll()), ["2-9"]);
    anew(&[]);
    assert_eq!(epochs(watch.poll()), [""; 0]);
    anew(&[(3, 1), (3, 2)]);
    assert_eq!(epochs(watch.poll()), ["3-1", "3-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_where_it_says_and_waits_for_more() {
    let (fake, hub) = hub();
    *fake.states.lock().expect("no panic") = (1..=5).map(|n| state(1, n, "processing")).collect();
    let watch = async |since: Option<&str>, mode| {
        let since = since.and_then(Position::parse);
        hub.watch(&job("a"), since, mode).await.expect("it attaches")
    };
    assert_eq!(numbers(&watch(None, Mode::All).await.poll()), [5]);
    assert_eq!(numbers(&watch(Some("1-2"), Mode::All).await.poll()), [3, 4, 5]);
    assert_eq!(numbers(&watch(Some("1-2"), Mode::Latest).await.poll()), [5]);
    assert_eq!(numbers(&watch(Some("9-2"), Mode::All).await.poll()), [5]);
    for seen in ["1-5", "1-77"] {
        let mut watch = watch(Some(seen), Mode::All).await;
        assert_eq!(numbers(&watch.poll()), [0; 0]);
        // To give up waiting costs nothing: the next wait sees what came meanwhile.
        assert!(tokio::time::timeout(LINGER, watch.next()).await.is_err());
        let number = fake.states.lock().expect("no panic").len() as u64 + 1;
        let notified = async {
            tokio::time::sleep(LINGER).await;
            fake.notify(&state(1, number, "processing"));
        };
        let (states, ()) = tokio::join!(watch.next(), notified);
        assert_eq!(numbers(&states.expect("it is not shed")), [number]);
        fake.notify(&state(1, number + 1, "processing"));
        assert_eq!(numbers(&watch.next().await.expect("it is not shed")), [number + 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_the_newest_only_gets_the_ends_too() {
    let (fake, hub) = hub();
    let mut watch = hub.watch(&job("a"), None, Mode::Latest).await.expect("it attaches");
    for (number, status) in (1..).zip(["processing", "failed", "processing", "completed", "queued"])
    {
        fake.notify(&state(1, number, status));
    }
    assert_eq!(numbers(&watch.poll()), [2, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn the_public_view_is_made_once_for_all_watchers() {
    let (fake, hub) = hub();
    let watch = async || {
        let watch = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches");
        watch.with_view(View::Public)
    };
    let (mut first, mut second) = (watch().await, watch().await);
    let json =
        r#"{"job_id":"a","status":"processing","metadata":"secret","attempt":1,"position":"1-1"}"#;
    let full = Arc::new(State::parse(json).expect("a state"));
    fake.notify(&full);
    let before = hub.log_bytes();
    let (one, other) = (first.poll(), second.poll());
    assert_eq!(one[0].json(), full.public().json());
    assert!(Arc::ptr_eq(&one[0], &other[0]));
    // The log's memory counts it, until its state has left the log.
    assert_eq!(hub.log_bytes(), before + one[0].json().len());
    for number in 2..200 {
        fake.notify(&state(1, number, "processing"));
        assert_eq!(first.poll().len(), 1);
    }
    // 128 states, each twice at most.
    assert!(hub.log_bytes() <= 256 * full.json().len(), "{}", hub.log_bytes());
    // A watcher that has fallen behind is shown the ends in the same view.
    fake.notify(&state(1, 200, "failed"));
    (201..400).for_each(|number| fake.notify(&state(1, number, "processing")));
    assert_eq!(numbers(&second.poll()), [200, 399]);
    let topic = fake.listeners.lock().expect("no panic")[&job("a")].clone();
    topic.forgotten();
    assert_eq!(hub.log_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_job_is_unknown_to_later_watchers() {
    let (fake, hub) = hub();
    let mut old = hub.watch(&job("a"), None, Mode::All).await.expect("it attaches");
    fake.notify(&state(1, 1, "processing"));
    old.poll();
    let topic = fake.listeners.lock().expect("no panic")[&job("a")].clone();
    topic.forgotten();
    let mut new = hub.watch(&job("a"), None, Mode::All).await.expect("it is there");
    assert_eq!(new.topic().state(), None);
    assert!(old.poll().is_empty() && new.poll().is_empty());
    // Only the earlier one has to be notified, once.
    assert_eq!(old.next().await, Err(WatchError::Notice(Notice::Forgotten)));
    for watch in [&mut old, &mut new] {
        assert!(tokio::time::timeout(LINGER, watch.next()).await.is_err());
    }
    topic.update(&state(2, 1, "processing"));
    assert_eq!((old.poll().len(), new.poll().len()), (1, 1));
}

/// State `number` of job `id`, of some 1,000 bytes, or 100.
fn large(id: &str, number: u64, is_large: bool) -> Arc<State> {
    let message = "x".repeat(if is_large { 1_000 } else { 1 });
    let json = format!(
        r#"{{"job_id":"{id}","status":"processing","attempt":1,"position":"1-{number}","message":"{message}"}}"#
    );
    Arc::new(State::parse(&json).expect("a state"))
}

#[tokio::test(start_paused = true)]
async fn logs_are_shortened_before_any_topic_is_shed() {
    const LIMIT: usize = 10_000;
    let limits = HubLimits { max_log_bytes: LIMIT, ..HubLimits::default() };
    let (fake, hub) = hub_with(limits);
    let mut watches = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        watches.push(hub.watch(&job(id), None, Mode::All).await.expect("there is room"));
    }
    let listener = |id: &str| fake.listeners.lock().expect("no panic")[&job(id)].clone();
    (1..9).for_each(|number| listener("a").update(&large("a", number, true)));
    tokio::task::yield_now().await;
    let before = hub.log_bytes();
    assert!(before < LIMIT, "the limit is not reached: {before}");
    for id in ["b", "c", "d", "e"] {
        listener(id).update(&large(id, 1, true));
    }
    assert!(hub.log_bytes() > LIMIT + LIMIT / 4, "{}", hub.log_bytes());
    tokio::task::yield_now().await;
    assert_eq!((hub.shed_topics(), hub.log_bytes() < before), (0, true), "{}", hub.log_bytes());
    assert_eq!(numbers(&watches[0].next().await.expect("it is not shed")), [8]);
    assert_eq!(numbers(&watches[1].next().await.expect("it is not shed")), [1]);
}

#[tokio::test(start_paused = true)]
async fn logs_with_too_much_are_shed_and_small_ones_stay() {
    const LIMIT: usize = 10_000;
    let limits = HubLimits { max_log_bytes: LIMIT, ..HubLimits::default() };
    let (fake, hub) = hub_with(limits);
    let ids: Vec<_> = (0..20).map(|number| format!("j{number}")).collect();
    let mut watches = Vec::new();
    for id in &ids {
        watches.push(hub.watch(&job(id), None, Mode::All).await.expect("there is room"));
    }
    let listener = |id: &str| fake.listeners.lock().expect("no panic").get(&job(id)).cloned();
    let notify = |id: &str, number, is_large| {
        listener(id).expect("it is attached").update(&large(id, number, is_large));
    };
    // All of them were watched before they had any states, so that none was refused.
    for (number, id) in ids.iter().enumerate() {
        notify(id, 1, number >= 2);
        tokio::task::yield_now().await;
    }
    assert!(hub.log_bytes() <= LIMIT + LIMIT / 4, "{}", hub.log_bytes());
    assert!(hub.shed_topics() > 0);

    let mut left = Vec::new();
    for (id, watch) in ids.iter().zip(&mut watches) {
        match watch.next().await {
            Ok(states) => left.push((id.as_str(), numbers(&states))),
            Err(error) => assert_eq!(error, WatchError::LogsFull(LIMIT)),
        }
    }
    assert_eq!(left[..2], [("j0", vec![1]), ("j1", vec![1])], "they hold little");
    assert_eq!(left.len() as u64 + hub.shed_topics(), 20);
    // The watcher that has to leave comes back too soon, then later. Which of the large topics is dropped is not defined.
    let is_left = |id: &&String| left.iter().any(|(left, _)| left == id);
    let shed = ids.iter().find(|id| !is_left(id)).expect("some are shed").clone();
    let (state, shed) = (large(&shed, 1, true), job(&shed));
    assert!(matches!(hub.topic(&shed).await.err(), Some(WatchError::LogsFull(_))));
    watches.truncate(2);
    tokio::time::sleep(3 * LINGER).await;
    fake.states.lock().expect("no panic").push(state);
    let mut again = hub.watch(&shed, None, Mode::All).await.expect("there is room");
    assert_eq!(numbers(&again.next().await.expect("it is not shed")), [1]);
    notify("j0", 2, false);
    assert_eq!(numbers(&watches[0].next().await.expect("it is not shed")), [2]);
}

#[tokio::test(start_paused = true)]
async fn states_that_the_broker_keeps_do_not_count() {
    let limits =
        HubLimits { max_log_bytes: 10_000, broker_keeps_states: true, ..HubLimits::default() };
    let (fake, hub) = hub_with(limits);
    let _watch = hub.watch(&job("a"), None, Mode::All).await.expect("there is room");
    fake.notify(&large("a", 1, true));
    assert_eq!(hub.log_bytes(), 0);
    fake.notify(&large("a", 2, true));
    assert!(hub.log_bytes() > 1_000, "the first one is the log's");
}
