//! A network on simulated time: connections deliver in order, after a delay, until they are cut.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Who may be at an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Redis,
    Instance(usize),
    /// All reporters and watchers.
    Clients,
}

/// What happens between each two places.
pub(crate) struct Network {
    random: RefCell<fastrand::Rng>,
    /// No connection is made between these before that moment.
    refused: RefCell<HashMap<(Place, Place), Instant>>,
    cuts: RefCell<Vec<Cut>>,
}

/// Cuts one connection between these two.
type Cut = ((Place, Place), watch::Sender<bool>);

/// One end of a connection, which sends `O` and receives `I`.
pub(crate) struct End<O, I> {
    out: Sender<O>,
    from: mpsc::UnboundedReceiver<(Instant, I)>,
    /// What has come, and is not due yet.
    next: Option<(Instant, I)>,
    cut: watch::Receiver<bool>,
}

/// The sending half of an end.
pub(crate) struct Sender<O> {
    network: Rc<Network>,
    to: mpsc::UnboundedSender<(Instant, O)>,
    /// When the last message arrives: none overtakes another.
    last: Rc<Cell<Instant>>,
}

impl<O> Clone for Sender<O> {
    fn clone(&self) -> Self {
        Self { network: Rc::clone(&self.network), to: self.to.clone(), last: Rc::clone(&self.last) }
    }
}

impl Network {
    pub(crate) fn new(random: fastrand::Rng) -> Rc<Self> {
        Rc::new(Self {
            random: RefCell::new(random),
            refused: RefCell::default(),
            cuts: RefCell::default(),
        })
    }

    /// How long something takes: mostly a millisecond, now and then a hundred.
    pub(crate) fn delay(&self) -> Duration {
        let mut random = self.random.borrow_mut();
        let longest = if random.u8(..) < 8 { 100_000 } else { 2_000 };
        Duration::from_micros(random.u64(100..longest))
    }

    pub(crate) fn random<R>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> R) -> R {
        draw(&mut self.random.borrow_mut())
    }

    /// A connection; none while the two cannot reach each other.
    pub(crate) async fn connect<A, B>(
        self: &Rc<Self>,
        from: Place,
        to: Place,
    ) -> Option<(End<A, B>, End<B, A>)> {
        tokio::time::sleep(self.delay()).await;
        if self.is_refused(from, to) {
            return None;
        }
        let (cut, is_cut) = watch::channel(false);
        self.cuts.borrow_mut().push(((from, to), cut));
        let (to_b, from_a) = mpsc::unbounded_channel();
        let (to_a, from_b) = mpsc::unbounded_channel();
        let end_a = End::new(self, to_b, from_b, is_cut.clone());
        let end_b = End::new(self, to_a, from_a, is_cut);
        Some((end_a, end_b))
    }

    pub(crate) fn is_refused(&self, from: Place, to: Place) -> bool {
        let refused = self.refused.borrow();
        refused.get(&(from, to)).is_some_and(|until| Instant::now() < *until)
    }

    /// Cuts all connections between the two, loses what is on its way, and refuses others for a while.
    pub(crate) fn cut(&self, from: Place, to: Place, time: Duration) {
        self.refused.borrow_mut().insert((from, to), Instant::now() + time);
        self.cuts.borrow_mut().retain(|(between, cut)| {
            if *between == (from, to) {
                // If both ends are gone, nothing waits for it.
                let _ = cut.send(true);
                return false;
            }
            !cut.is_closed()
        });
    }
}

impl<O, I> End<O, I> {
    fn new(
        network: &Rc<Network>,
        to: mpsc::UnboundedSender<(Instant, O)>,
        from: mpsc::UnboundedReceiver<(Instant, I)>,
        cut: watch::Receiver<bool>,
    ) -> Self {
        let last = Rc::new(Cell::new(Instant::now()));
        let out = Sender { network: Rc::clone(network), to, last };
        Self { out, from, next: None, cut }
    }

    pub(crate) fn send(&self, message: O) {
        self.out.send(message);
    }

    pub(crate) fn sender(&self) -> Sender<O> {
        self.out.clone()
    }

    /// The next message, when it arrives; none once the connection is lost. Safe to drop and call again.
    pub(crate) async fn receive(&mut self) -> Option<I> {
        if *self.cut.borrow() {
            return None;
        }
        if self.next.is_none() {
            self.next = tokio::select! {
                biased;
                _ = self.cut.changed() => None,
                message = self.from.recv() => message,
            };
        }
        let (at, _) = self.next.as_ref()?;
        tokio::select! {
            biased;
            _ = self.cut.changed() => None,
            () = sleep_until(*at) => self.next.take().map(|(_, message)| message),
        }
    }
}

impl<O> Sender<O> {
    pub(crate) fn send(&self, message: O) {
        let at = (Instant::now() + self.network.delay()).max(self.last.get());
        self.last.set(at);
        // If the other end is gone, the message is lost.
        let _ = self.to.send((at, message));
    }
}
