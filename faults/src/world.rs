use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::delays::Delays;

/// Where everything is, for workers and watchers: addresses, as a load balancer or a name server would give them.
#[derive(Debug)]
pub(crate) struct World {
    instances: Vec<Place>,
    redis: Mutex<Option<SocketAddr>>,
    /// How long updates take to their watchers.
    pub(crate) delays: Delays,
}

#[derive(Debug)]
struct Place {
    address: SocketAddr,
    may_leave: AtomicBool,
}

impl World {
    pub(crate) fn new(instances: Vec<SocketAddr>, redis: Option<SocketAddr>) -> Self {
        let place = |address| Place { address, may_leave: AtomicBool::new(false) };
        Self {
            instances: instances.into_iter().map(place).collect(),
            redis: Mutex::new(redis),
            delays: Delays::default(),
        }
    }

    /// The address of an instance; numbers beyond the last begin anew.
    pub(crate) fn instance(&self, number: usize) -> SocketAddr {
        self.place(number).address
    }

    /// Whether there is another instance to turn to.
    pub(crate) fn has_others(&self) -> bool {
        self.instances.len() > 1
    }

    /// Whether an instance is being killed or restarted, so that its watchers may lose it.
    pub(crate) fn may_leave(&self, number: usize) -> bool {
        self.place(number).may_leave.load(Ordering::Acquire)
    }

    pub(crate) fn let_leave(&self, number: usize, may: bool) {
        self.place(number).may_leave.store(may, Ordering::Release);
    }

    /// The Redis that workers publish to, if there is one.
    pub(crate) fn redis(&self) -> Option<SocketAddr> {
        *self.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn move_redis(&self, address: SocketAddr) {
        *self.redis.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn place(&self, number: usize) -> &Place {
        &self.instances[number % self.instances.len()]
    }
}
