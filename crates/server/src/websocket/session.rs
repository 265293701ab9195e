use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::JobId;

use crate::access::Granted;

/// What a connection is allowed, and until when. Only if credentials are required.
pub(super) struct Session {
    pub(super) granted: Arc<Granted>,
    /// When it ends, in the clock's `elapsed`; none: until it is revoked.
    pub(super) expires: Option<Duration>,
    /// When the shard checks it again, to warn the client or to close the connection.
    pub(super) due: Option<Duration>,
    pub(super) is_warned: bool,
    /// The jobs that it watches: at most as many as a socket may.
    pub(super) jobs: HashSet<JobId>,
    /// How many tokens arrived in the present window, and when it began.
    pub(super) tokens: (Duration, u32),
}

/// How long before the end of its credential a client is warned.
const WARNING: Duration = Duration::from_secs(30);

impl Session {
    /// A session from now on, in the clock's `elapsed`.
    pub(super) fn new(granted: Arc<Granted>, left: Option<Duration>, now: Duration) -> Self {
        let mut session = Self {
            granted,
            expires: None,
            due: None,
            is_warned: false,
            jobs: HashSet::new(),
            tokens: (now, 0),
        };
        session.renew(left, now);
        session
    }

    /// Extends the session by this time from now on.
    pub(super) fn renew(&mut self, left: Option<Duration>, now: Duration) {
        self.expires = left.map(|left| now + left);
        self.due = self.expires.map(|expires| expires.saturating_sub(WARNING).max(now));
        self.is_warned = false;
    }
}
