//! A watcher: the session of `crates/watcher`, on a simulated socket.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use milepost_protocol::JobId;
use milepost_watcher::simulation::{Session, Step};
use milepost_watcher::{Event, Mode};
use tokio::time::{Instant, sleep_until};

use crate::check::Sight;
use crate::instance::{Instance, Message};
use crate::network::{End, Network, Place};

pub(crate) struct Watcher {
    pub(crate) job: JobId,
    pub(crate) mode: Mode,
    pub(crate) network: Rc<Network>,
    pub(crate) instances: Vec<Rc<Instance>>,
    pub(crate) sight: Rc<RefCell<Sight>>,
    /// Whether a load balancer keeps it from instances that are not ready. Where Redis loses data, one that does not know
    /// yet would show a newcomer what was lost.
    pub(crate) only_ready: bool,
}

impl Watcher {
    pub(crate) async fn run(self) {
        let mut session = Session::new(self.job.clone(), self.mode, now());
        let mut socket: Option<End<(), Message>> = None;
        loop {
            while let Some(step) = session.poll() {
                match step {
                    Step::Connect(path) => match self.connect(path).await {
                        Some(end) => {
                            socket = Some(end);
                            session.on_open();
                        }
                        None => session.on_lost(now(), self.draw()),
                    },
                    Step::Disconnect => socket = None,
                    Step::Emit(Event::State(state)) => self.sight.borrow_mut().show(&state),
                    Step::Send(_) | Step::Emit(_) => {}
                }
            }
            let Some(deadline) = session.deadline() else { return };
            let deadline = Instant::from_std(deadline);
            let message = async {
                match &mut socket {
                    Some(socket) => socket.receive().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = message => match message {
                    Some(Message::Text(text)) => session.on_text(&text, now()),
                    Some(Message::Close(code)) => session.on_close(code, now(), self.draw()),
                    None => session.on_lost(now(), self.draw()),
                },
                () = sleep_until(deadline) => session.on_deadline(now(), self.draw()),
            }
        }
    }

    async fn connect(&self, path: String) -> Option<End<(), Message>> {
        let at = self.network.random(|random| random.usize(..self.instances.len()));
        if self.only_ready && !self.instances[at].is_ready() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
        let connection = self.network.connect(Place::Clients, Place::Instance(at)).await;
        let Some((here, there)) = connection else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        };
        self.instances[at].accept(path, there);
        Some(here)
    }

    fn draw(&self) -> f64 {
        self.network.random(fastrand::Rng::f64)
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
