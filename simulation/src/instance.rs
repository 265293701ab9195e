//! An instance: a hub, its subscription to Redis, and the parts of the server that watchers and reporters use.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use milepost_hub::{Hub, HubLimits, Mode};
use milepost_protocol::{JobId, Position};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::network::{End, Network, Place};
use crate::planted::Planted;
use crate::redis::Redis;
use crate::subscriber::{RedisBroker, StateRead, Subscriber};
use crate::watched::Watched;

/// Between two messages of a watcher's connection, at most.
const PING: Duration = Duration::from_secs(5);

/// What a client sends first: the path. What it gets: messages.
pub(crate) enum Message {
    Text(String),
    /// Closed, for the client to come back.
    Close(u16),
}

/// An instance that may be killed and started anew.
pub(crate) struct Instance {
    number: usize,
    network: Rc<Network>,
    redis: Rc<Redis>,
    planted: Option<Planted>,
    running: RefCell<Option<Running>>,
    ready: Rc<Cell<bool>>,
}

struct Running {
    hub: Arc<Hub>,
    tasks: Vec<JoinHandle<()>>,
}

impl Instance {
    pub(crate) fn start(
        number: usize,
        network: &Rc<Network>,
        redis: &Rc<Redis>,
        planted: Option<Planted>,
    ) -> Rc<Self> {
        let instance = Rc::new(Self {
            number,
            network: Rc::clone(network),
            redis: Rc::clone(redis),
            planted,
            running: RefCell::new(None),
            ready: Rc::default(),
        });
        instance.run();
        instance
    }

    fn run(&self) {
        let watched = Arc::<Watched>::default();
        let (queue, jobs) = mpsc::unbounded_channel();
        let (reads, states) = mpsc::unbounded_channel();
        let broker = RedisBroker { watched: Arc::clone(&watched), queue, reads };
        let limits = HubLimits { linger: Duration::from_secs(2), ..HubLimits::default() };
        let hub = Arc::new(Hub::new(Arc::new(broker), 1, limits));
        let subscriber = Subscriber {
            instance: self.number,
            network: Rc::clone(&self.network),
            redis: Rc::clone(&self.redis),
            watched,
            queue: jobs,
            planted: self.planted,
            ready: Rc::clone(&self.ready),
        };
        let of_hub = Arc::clone(&hub);
        let tasks = vec![
            tokio::task::spawn_local(subscriber.run()),
            tokio::task::spawn_local(async move { of_hub.run().await }),
            tokio::task::spawn_local(read_states(
                self.number,
                Rc::clone(&self.network),
                Rc::clone(&self.redis),
                states,
            )),
        ];
        *self.running.borrow_mut() = Some(Running { hub, tasks });
    }

    /// As `kill -9` does, and restarts it at once. The caller cuts its connections.
    pub(crate) fn restart(&self) {
        if let Some(running) = self.running.borrow_mut().take() {
            running.tasks.iter().for_each(JoinHandle::abort);
        }
        self.ready.set(false);
        self.run();
    }

    /// Serves a watcher's connection.
    pub(crate) fn accept(self: &Rc<Self>, path: String, end: End<Message, ()>) {
        let Some(hub) = self.running.borrow().as_ref().map(|running| Arc::clone(&running.hub))
        else {
            return;
        };
        let resumes = self.planted != Some(Planted::NoResume);
        let task = tokio::task::spawn_local(serve(hub, path, end, resumes));
        if let Some(running) = &mut *self.running.borrow_mut() {
            running.tasks.retain(|task| !task.is_finished());
            running.tasks.push(task);
        }
    }

    /// Whether `/readyz` says so.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Whether it can reach Redis now, for a report.
    pub(crate) fn reaches_redis(&self) -> bool {
        !self.network.is_refused(Place::Instance(self.number), Place::Redis)
    }
}

/// Answers reads of one state, as the client of `crates/redis` does over a connection of its own; not while Redis is out of
/// reach.
async fn read_states(
    instance: usize,
    network: Rc<Network>,
    redis: Rc<Redis>,
    mut reads: mpsc::UnboundedReceiver<StateRead>,
) {
    while let Some((job, answer)) = reads.recv().await {
        let (network, redis) = (Rc::clone(&network), Rc::clone(&redis));
        tokio::task::spawn_local(async move {
            let is_refused = || network.is_refused(Place::Instance(instance), Place::Redis);
            sleep(network.delay()).await;
            if is_refused() {
                return;
            }
            let state = redis.state(&job);
            sleep(network.delay()).await;
            if !is_refused() {
                let _ = answer.send(state);
            }
        });
    }
}

/// `GET /ws/jobs/{job_id}`: `crates/server/src/websocket` in short.
async fn serve(hub: Arc<Hub>, path: String, mut end: End<Message, ()>, resumes: bool) {
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let job = path.strip_prefix("/ws/jobs/").and_then(|job| JobId::parse(job).ok());
    let Some(job) = job else { return end.send(Message::Close(4400)) };
    let parameters = || query.split('&').filter_map(|pair| pair.split_once('='));
    let named = |name: &str| parameters().find(|(key, _)| *key == name).map(|(_, value)| value);
    let since = named("since").and_then(Position::parse).filter(|_| resumes);
    let mode = if named("mode") == Some("latest") { Mode::Latest } else { Mode::All };
    let Ok(mut watch) = hub.watch(&job, since, mode).await else {
        return end.send(Message::Close(1011));
    };
    let known = watch.topic().state().is_some();
    let text = format!(r#"{{"type":"connected","job_id":"{job}","known":{known}}}"#);
    end.send(Message::Text(text));
    loop {
        tokio::select! {
            biased;
            // A client sends nothing. The only event is the loss of the connection.
            _ = end.receive() => return,
            states = timeout(PING, watch.next()) => match states {
                Ok(Err(_)) => return end.send(Message::Close(1013)),
                Ok(Ok(states)) => {
                    for state in states {
                        end.send(Message::Text(state.json().to_owned()));
                    }
                }
                Err(_) => end.send(Message::Text(r#"{"type":"ping"}"#.to_owned())),
            },
        }
    }
}
