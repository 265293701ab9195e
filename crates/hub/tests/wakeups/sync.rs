//! loom's locks, and tokio's `Notify` made of them: who waits blocks its thread.

use std::pin::Pin;
use std::task::{Context, Poll};

use loom::sync::Condvar;
pub(crate) use loom::sync::{Mutex, MutexGuard};
pub(crate) use loom::thread_local;

/// As tokio documents it: one permit at most is stored; all that wait are woken, and so is who began to wait
/// before, but nobody later.
#[derive(Default)]
pub(crate) struct Notify {
    notifications: Mutex<Notifications>,
    changed: Condvar,
}

#[derive(Default)]
struct Notifications {
    permit: bool,
    all: u64,
}

pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    since: u64,
}

impl Notify {
    pub(crate) fn notify_one(&self) {
        self.notifications.lock().expect("no panic").permit = true;
        self.changed.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        self.notifications.lock().expect("no panic").all += 1;
        self.changed.notify_all();
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, since: self.notifications.lock().expect("no panic").all }
    }
}

impl Notified<'_> {
    #[expect(clippy::unused_self, reason = "tokio's signature; here it waits from its making on")]
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        false
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let mut notifications = self.notify.notifications.lock().expect("no panic");
        while !notifications.permit && notifications.all == self.since {
            notifications = self.notify.changed.wait(notifications).expect("no panic");
        }
        notifications.permit = false;
        Poll::Ready(())
    }
}
