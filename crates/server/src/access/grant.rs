use std::sync::Arc;
use std::time::Duration;

use milepost_access::{Key, Pattern, Permissions};
use milepost_broker::{Broker, Clock, Unavailable};
use milepost_protocol::{JobId, ProblemType, State, View};

use crate::response::problem::{Outcome, Refused};

/// What a request or a connection is allowed.
#[derive(Clone)]
pub(crate) enum Grant {
    /// Everything, because no credentials are configured.
    Unguarded,
    /// Nothing: no credential, or one that is not valid.
    Nothing,
    /// What a credential allows.
    Of(Arc<Granted>),
}

/// The holder of a token that names no subject.
pub(super) const NOBODY: &str = "token";

/// What a credential allows, found once for a request or a connection.
pub(crate) struct Granted {
    pub(crate) permissions: Permissions,
    /// When it ends, in seconds since 1970.
    pub(crate) expires: Option<f64>,
    /// The key, if the credential is one: it may be revoked.
    pub(crate) key: Option<Arc<Key>>,
    /// Whose credential it is, for the audit log: `key:worker`, `sub:42`.
    pub(crate) holder: String,
}

impl Granted {
    /// What a key allows, until it is revoked.
    pub(super) fn of_key(key: &Arc<Key>) -> Self {
        Self {
            permissions: key.permissions.clone(),
            expires: None,
            key: Some(Arc::clone(key)),
            holder: format!("key:{}", key.name),
        }
    }

    /// For whom limits are counted: the key, or the subject of the token, if it has one.
    pub(crate) fn subject(&self) -> Option<&str> {
        (self.holder != NOBODY).then_some(&self.holder)
    }

    /// How long the grant holds from now on; none if until it is revoked.
    pub(crate) fn left(&self, clock: &dyn Clock) -> Option<Duration> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact to the microsecond for two centuries"
        )]
        let now = clock.now().as_micros() as f64 / 1e6;
        // A year is long enough to count as never, and fits a timer.
        self.expires.map(|at| Duration::try_from_secs_f64((at - now).min(31e6)).unwrap_or_default())
    }
}

impl Grant {
    fn permissions(&self) -> Result<&Permissions, bool> {
        match self {
            Self::Unguarded => Err(true),
            Self::Nothing => Err(false),
            Self::Of(granted) => Ok(&granted.permissions),
        }
    }

    /// Whether the job may be watched. The state is read only if the id alone does not decide.
    ///
    /// # Errors
    /// If the state has to be read, and the broker is unavailable.
    pub(crate) async fn may_watch(&self, job: &JobId, broker: &dyn Broker) -> Answer {
        match self.permissions() {
            Ok(allowed) => names(&allowed.watch, job, broker).await,
            Err(all) => Ok(all),
        }
    }

    /// Whether the job that this is the present state of may be watched.
    pub(crate) fn may_watch_state(&self, state: &State) -> bool {
        let names = |pattern: &Pattern| pattern.matches_state(state);
        self.permissions().map_or_else(|all| all, |allowed| allowed.watch.iter().any(names))
    }

    pub(crate) fn may_report(&self, job: &JobId) -> bool {
        self.permissions().map_or_else(|all| all, |allowed| allowed.may_report(job.as_str()))
    }

    /// Whether the job may be controlled. The state is read only if the id alone does not decide.
    ///
    /// # Errors
    /// If the state has to be read, and the broker is unavailable.
    pub(crate) async fn may_control(&self, job: &JobId, broker: &dyn Broker) -> Answer {
        match self.permissions() {
            Ok(allowed) => names(&allowed.control, job, broker).await,
            Err(all) => Ok(all),
        }
    }

    pub(crate) fn may_operate(&self) -> bool {
        self.permissions().map_or_else(|all| all, |allowed| allowed.operate)
    }

    /// Whether every job may be watched, so that lists need no filter.
    pub(crate) fn watches_all(&self) -> bool {
        self.permissions()
            .map_or_else(|all| all, |allowed| allowed.watch.iter().any(Pattern::is_all))
    }

    /// How much of each job is shown.
    pub(crate) fn view(&self) -> View {
        self.permissions().map_or(View::Full, |allowed| allowed.view)
    }

    /// The part of the state that may be shown. For long-lived watchers, the hub does this, once for all of them.
    pub(crate) fn show(&self, state: Arc<State>) -> Arc<State> {
        match self.view() {
            View::Full => state,
            View::Public => Arc::new(state.public()),
        }
    }

    /// Whether more than the public view is shown.
    ///
    /// # Errors
    /// `forbidden` if it is not; `what` names what the view lacks.
    pub(crate) fn check_full_view(&self, what: &str) -> Outcome<()> {
        if self.view() == View::Full {
            return Ok(());
        }
        let detail = format!("the credential's view is public: {what}");
        Err(Refused::new(ProblemType::Forbidden, detail))
    }

    pub(crate) fn granted(&self) -> Option<&Arc<Granted>> {
        match self {
            Self::Of(granted) => Some(granted),
            Self::Unguarded | Self::Nothing => None,
        }
    }
}

type Answer = Result<bool, Unavailable>;

/// Whether one of the patterns names the job. An unknown job has no tags and no parent.
async fn names(patterns: &[Pattern], job: &JobId, broker: &dyn Broker) -> Answer {
    if patterns.iter().any(|pattern| pattern.matches(job.as_str())) {
        return Ok(true);
    }
    if !patterns.iter().any(Pattern::needs_state) {
        return Ok(false);
    }
    let state = broker.state(job).await?;
    Ok(state.is_some_and(|state| patterns.iter().any(|pattern| pattern.matches_state(&state))))
}
