//! An instance's subscription to Redis, as in `crates/broker-redis/src/subscriber.rs`: it subscribes to a job before it
//! reads it, and hands messages and reads to the same [`Watched`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use milepost_broker::{
    Broker, History, Jobs, JobsQuery, Listener, ReportError, Reported, RequestError, Stats,
    Unavailable,
};
use milepost_protocol::{JobId, State, Update};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::network::{End, Network, Place};
use crate::planted::Planted;
use crate::redis::{Answer, Redis, Request};
use crate::watched::{Interest, Next, Watched};

/// How long an instance waits for a job's present states.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two reads of a job to which nothing has happened.
const REREAD: Duration = Duration::from_secs(10);
/// After a lost connection.
const PAUSE: Duration = Duration::from_millis(200);

/// The broker that an instance's hub sees.
pub(crate) struct RedisBroker {
    pub(crate) watched: Arc<Watched>,
    /// The jobs that the subscriber has to read, subscribe to or unsubscribe from.
    pub(crate) queue: mpsc::UnboundedSender<JobId>,
    /// The other reads of the instance, each with where its answer goes.
    pub(crate) reads: mpsc::UnboundedSender<StateRead>,
}

pub(crate) type StateRead = (JobId, oneshot::Sender<Option<Arc<State>>>);

#[async_trait]
impl Broker for RedisBroker {
    async fn report(&self, _: Update) -> Result<Reported, ReportError> {
        Err(Unavailable::Backend("reports do not go through this broker".to_owned()).into())
    }

    async fn request(
        &self,
        _: &JobId,
        _: milepost_protocol::Request,
    ) -> Result<Reported, RequestError> {
        Err(RequestError::Unavailable(Unavailable::Backend(
            "there are no requests in the simulation".to_owned(),
        )))
    }

    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let _ = self.reads.send((job.clone(), answer));
        answered.await.map_err(|_| Unavailable::Backend("Redis does not answer".to_owned()))
    }

    async fn history(&self, _: &JobId) -> Result<History, Unavailable> {
        Ok(History::default())
    }

    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable> {
        let attached = self.watched.attach(job, Arc::clone(&listener));
        let _ = self.queue.send(job.clone());
        if let Ok(Ok(Ok(()))) = timeout(ATTACH_TIMEOUT, attached).await {
            return Ok(());
        }
        self.watched.detach(job, &listener);
        Err(Unavailable::Backend("Redis does not answer".to_owned()))
    }

    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) {
        if self.watched.detach(job, listener) {
            let _ = self.queue.send(job.clone());
        }
    }

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

    async fn run(&self, _: watch::Receiver<bool>) {}
}

/// One connection after the other.
pub(crate) struct Subscriber {
    pub(crate) instance: usize,
    pub(crate) network: Rc<Network>,
    pub(crate) redis: Rc<Redis>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) queue: mpsc::UnboundedReceiver<JobId>,
    pub(crate) planted: Option<Planted>,
    /// Whether all watched jobs have been read on the present connection, as `/readyz` reports it.
    pub(crate) ready: Rc<Cell<bool>>,
}

impl Subscriber {
    pub(crate) async fn run(mut self) {
        let mut connections = 0;
        loop {
            let connection = self.network.connect(Place::Instance(self.instance), Place::Redis);
            if let Some((end, there)) = connection.await {
                tokio::task::spawn_local(Rc::clone(&self.redis).serve(there));
                connections += 1;
                self.serve(end, connections).await;
                self.ready.set(false);
            }
            sleep(PAUSE).await;
        }
    }

    async fn serve(&mut self, mut end: End<Request, Answer>, key: u64) {
        let mut subscribed = BTreeSet::new();
        let mut due: BTreeMap<(Instant, String), JobId> = BTreeMap::new();
        let mut unread = 0;
        let is_first = key == 1;
        if is_first || self.planted != Some(Planted::NoResubscription) {
            let mut all = self.watched.all();
            all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            unread = all.len();
            for job in all {
                self.update_subscription(job, &end, &mut subscribed);
            }
        }
        loop {
            self.ready.set(unread == 0);
            let next_due = due.first_key_value().map(|((at, _), _)| *at);
            let wait = async {
                match next_due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let job = tokio::select! {
                biased;
                answer = end.receive() => match answer {
                    None => return,
                    Some(Answer::Subscribed) => None,
                    Some(Answer::Message(job, json)) => {
                        // Here, no message names another job.
                        let next = self.watched.message(&job, &json, key, Duration::ZERO);
                        (next == Ok(Next::Read)).then_some(job)
                    }
                    Some(Answer::Read(job, read)) => {
                        unread = unread.saturating_sub(1);
                        let (next, _) = self.watched.read(&job, read, None, key);
                        let jitter = self.network.random(fastrand::Rng::f64);
                        let again = Instant::now() + REREAD.mul_f64(0.8 + 0.4 * jitter);
                        due.retain(|_, other| *other != job);
                        due.insert((again, job.to_string()), job.clone());
                        (next == Next::Read).then_some(job)
                    }
                },
                job = self.queue.recv() => match job {
                    Some(job) => Some(job),
                    None => return,
                },
                () = wait => due.pop_first().map(|(_, job)| job),
            };
            if let Some(job) = job {
                self.update_subscription(job, &end, &mut subscribed);
            }
        }
    }

    fn update_subscription(
        &self,
        job: JobId,
        end: &End<Request, Answer>,
        subscribed: &mut BTreeSet<String>,
    ) {
        match self.watched.interest(&job) {
            Interest::None => {
                if subscribed.remove(job.as_str()) {
                    end.send(Request::Unsubscribe(job));
                }
            }
            Interest::States { after } => {
                if subscribed.insert(job.to_string()) {
                    end.send(Request::Subscribe(job.clone()));
                }
                end.send(Request::Read(job, after));
            }
        }
    }
}
