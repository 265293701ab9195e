use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::layout::Span;
use crate::{Attribute, Epoch, Fold, Position, Refusal, State, Timestamp};

/// The longest `by`, and the longest `reason`, in bytes.
pub const MAX_REQUEST_TEXT_BYTES: usize = 256;

/// What may be requested of a job's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// That it ends the attempt.
    Cancel,
    /// That it stops for a while.
    Pause,
    /// That it goes on.
    Resume,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Pause, Self::Resume];

    /// The action's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// The action of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// A request to a job's worker: `spec/README.md`, section 16. The worker decides what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is requested.
    pub action: Action,
    /// Who requests it, for people; at most [`MAX_REQUEST_TEXT_BYTES`].
    pub by: Option<String>,
    /// Why, for people; at most [`MAX_REQUEST_TEXT_BYTES`].
    pub reason: Option<String>,
}

impl Request {
    /// The value of `requested` in the states that follow.
    pub fn to_json(&self, at: Timestamp) -> String {
        let requested = Requested {
            action: self.action,
            at: at.with_millis().to_string(),
            by: self.by.as_deref(),
            reason: self.reason.as_deref(),
        };
        // Strings only; only I/O could fail.
        serde_json::to_string(&requested).unwrap_or_default()
    }
}

/// What was requested of the worker in this attempt: `requested` in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Requested<'a> {
    /// What the worker is to do.
    pub action: Action,
    /// When, by the server's clock: RFC 3339 in UTC with milliseconds.
    #[cfg_attr(feature = "openapi", schema(examples("2024-01-01T00:00:00.000Z")))]
    pub at: String,
    /// Who requested it, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 256, nullable = false))]
    pub by: Option<&'a str>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 256, nullable = false))]
    pub reason: Option<&'a str>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRefusal {
    /// The job is not known.
    UnknownJob,
    /// The job's worker has not said that it answers requests.
    NotCancellable,
    /// It was requested already that the job be cancelled.
    CancelRequested,
    /// The attempt has ended.
    Ended(Refusal),
}

impl fmt::Display for RequestRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownJob => f.write_str("the job is not known"),
            Self::NotCancellable => {
                f.write_str("the job's worker answers no requests: it has not set cancellable")
            }
            Self::CancelRequested => f.write_str("the job was already requested to cancel"),
            Self::Ended(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for RequestRefusal {}

/// The state with the request in it; repeated if the same was requested already and is not answered yet. All else stays as
/// the worker reported it: a request says nothing of the worker.
///
/// # Errors
/// When the request is refused.
pub fn request(
    previous: Option<&State>,
    request: &Request,
    epoch: Epoch,
    now: Timestamp,
) -> Result<Fold, RequestRefusal> {
    let previous = previous.ok_or(RequestRefusal::UnknownJob)?;
    if previous.status.is_end() {
        return Err(RequestRefusal::Ended(Refusal::AttemptEnded {
            attempt: previous.attempt,
            status: previous.status,
            position: previous.position,
        }));
    }
    if previous.attribute(Attribute::Cancellable) != Some("true") {
        return Err(RequestRefusal::NotCancellable);
    }
    match previous.requested_action() {
        Some(pending) if pending == request.action => return Ok(Fold::Repeated),
        Some(Action::Cancel) => return Err(RequestRefusal::CancelRequested),
        _ => {}
    }
    let position = Position::following(Some(previous.position), epoch);
    let mut json = previous.json[..previous.tail_start()].to_owned();
    let mut layout = previous.layout.clone();
    let mut add = |name: &str, value: &str| {
        // Writing into a String cannot fail.
        let _ = write!(json, ",\"{name}\":");
        let start = json.len();
        json.push_str(value);
        Span::new(&(start..json.len()))
    };
    layout.requested = add("requested", &request.to_json(now));
    if let Some(children) = previous.children() {
        layout.children = add("children", children);
    }
    if let Some(progress) = previous.last_progress() {
        layout.progress = add("progress", progress);
    }
    // Writing into a String cannot fail.
    let _ = write!(json, ",\"attempt\":{},\"position\":\"{position}\"}}", previous.attempt);
    Ok(Fold::New(State { position, layout, json: json.into_boxed_str(), ..previous.clone() }))
}

impl State {
    /// What was requested of the worker in this attempt, as JSON: `{"action":…,"at":…,"by":…,"reason":…}`.
    pub fn requested(&self) -> Option<&str> {
        self.layout.requested.get(&self.json)
    }

    /// The action that was requested last in this attempt.
    pub fn requested_action(&self) -> Option<Action> {
        let name = self.requested()?.strip_prefix(r#"{"action":""#)?.split('"').next()?;
        Action::from_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobId, Origin, Update, fold};

    const EPOCH: Epoch = Epoch(1);

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00.5Z").unwrap()
    }

    fn after(previous: Option<&State>, update: &str) -> State {
        let job = JobId::parse("a").unwrap();
        let update = Update::parse(Some(&job), update.as_bytes()).unwrap();
        match fold(previous, &update, Origin::Report, EPOCH, now()).unwrap() {
            Fold::New(state) => state,
            Fold::Repeated => panic!("repeated"),
        }
    }

    fn asked(action: Action, by: &str) -> Request {
        Request { action, by: Some(by.to_owned()), reason: None }
    }

    fn requested(previous: &State, action: Action) -> State {
        match request(Some(previous), &asked(action, "me"), EPOCH, now()).unwrap() {
            Fold::New(state) => state,
            Fold::Repeated => panic!("repeated"),
        }
    }

    #[test]
    fn a_request_is_a_state_that_says_nothing_else_new() {
        let first = after(None, r#"{"cancellable":true,"progress":0.5,"x":{"attempt":1}}"#);
        let state = requested(&first, Action::Cancel);
        let field = r#","requested":{"action":"cancel","at":"2026-01-01T00:00:00.500Z","by":"me"}"#;
        let expected = first.json().replace(
            r#","attempt":1,"position":"1-1"}"#,
            &format!(r#"{field},"attempt":1,"position":"1-2"}}"#),
        );
        assert_eq!(state.json(), expected);
        assert_eq!(State::parse(state.json()).unwrap(), state);
        // It stays through the attempt, its end included, and no update touches it.
        let next = after(Some(&state), r#"{"progress":0.6,"requested":1}"#);
        assert_eq!(next.requested(), state.requested());
        let end = after(Some(&next), r#"{"status":"cancelled"}"#);
        assert_eq!(end.requested_action(), Some(Action::Cancel));
        assert_eq!(after(Some(&end), r#"{"attempt":2}"#).requested(), None);
    }

    #[test]
    fn the_same_again_is_repeated_and_another_replaces_it() {
        let first = after(None, r#"{"cancellable":true}"#);
        let paused = requested(&first, Action::Pause);
        let again = request(Some(&paused), &asked(Action::Pause, "other"), EPOCH, now());
        assert_eq!(again, Ok(Fold::Repeated));
        let resumed = requested(&paused, Action::Resume);
        assert_eq!(resumed.json().matches("requested").count(), 1);
        let cancelled = requested(&resumed, Action::Cancel);
        let pause = request(Some(&cancelled), &asked(Action::Pause, "me"), EPOCH, now());
        assert_eq!(pause, Err(RequestRefusal::CancelRequested));
        assert_eq!(requested(&first, Action::Cancel).position().number, 2);
        let foreign = request(Some(&first), &asked(Action::Cancel, "me"), Epoch(7), now());
        let Ok(Fold::New(state)) = foreign else { panic!("{foreign:?}") };
        assert_eq!(state.position(), Position { epoch: Epoch(7), number: 1 });
    }

    #[test]
    fn who_answers_no_requests_is_sent_none() {
        let refused = |state: Option<&State>| {
            request(state, &asked(Action::Cancel, "me"), EPOCH, now()).unwrap_err()
        };
        assert_eq!(refused(None), RequestRefusal::UnknownJob);
        let plain = after(None, "{}");
        assert_eq!(refused(Some(&plain)), RequestRefusal::NotCancellable);
        let false_ = after(None, r#"{"cancellable":false}"#);
        assert_eq!(refused(Some(&false_)), RequestRefusal::NotCancellable);
        let end = after(None, r#"{"cancellable":true,"status":"completed"}"#);
        assert!(matches!(refused(Some(&end)), RequestRefusal::Ended(_)));
    }
}
