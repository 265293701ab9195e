//! A reporter whose notices are kept, and a look at what Redis has.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milepost_redis_servers::{Reply, Server};
use milepost_reporter::{Builder, Notice, ProgressReporter, Reporter};
use serde_json::Value;

/// Nothing here takes as long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the reporter had to say.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<Notice>>>);

impl Notices {
    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        eventually(|| format!("{:?}", self.all()), || self.all().into_iter().find(&wanted))
    }

    /// One warning, and one word that it is over: this, and nothing else.
    pub(crate) fn assert_one_outage(&self) {
        let all = self.all();
        assert!(matches!(all[..], [Notice::Failing { .. }, Notice::Recovered]), "{all:?}");
    }

    pub(crate) fn assert_none(&self) {
        assert_eq!(self.all(), []);
    }
}

pub(crate) fn is_failing(notice: &Notice) -> bool {
    matches!(notice, Notice::Failing { .. })
}

pub(crate) fn is_delayed(notice: &Notice) -> bool {
    matches!(notice, Notice::Delayed { .. })
}

pub(crate) fn is_recovered(notice: &Notice) -> bool {
    *notice == Notice::Recovered
}

/// A reporter that is quick, so that tests are.
pub(crate) fn builder() -> (Builder, Notices) {
    let notices = Notices::default();
    let into = notices.clone();
    let builder = Reporter::builder()
        .interval(Duration::from_millis(20))
        .on_notice(move |notice| into.0.lock().unwrap().push(notice.clone()));
    (builder, notices)
}

pub(crate) fn connect(url: &str) -> (Reporter, Notices) {
    let (builder, notices) = builder();
    (builder.connect(url).unwrap(), notices)
}

/// What lies under a key, as JSON.
pub(crate) fn stored(server: &Server, key: &str) -> Option<Value> {
    let text = server.command(&["GET", key]).ok().as_ref().and_then(Reply::text)?;
    Some(serde_json::from_str(&text).expect("what is stored is JSON"))
}

/// The job's state, once it is as wanted.
pub(crate) fn wait_for(server: &Server, job: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let key = format!("job_status:{job}");
    let now = || format!("{job} is {:?}", stored(server, &key));
    eventually(now, || stored(server, &key).filter(&wanted))
}

pub(crate) fn wait_for_end(server: &Server, job: &str) -> Value {
    wait_for(server, job, |state| state["status"] == "completed")
}

/// What the old names say of a job, which give up soon.
pub(crate) fn status(progress: &ProgressReporter, job: &str) -> Value {
    eventually(|| format!("{job} is not known"), || progress.get_status(job))
}

/// Waits until `check` finds something.
pub(crate) fn eventually<T>(
    otherwise: impl Fn() -> String,
    mut check: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {}", otherwise());
        std::thread::sleep(Duration::from_millis(5));
    }
}
