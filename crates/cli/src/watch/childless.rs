//! What `--parent` waits for where no child runs: the parent may not be known yet, have no children yet, or have ended.

use std::thread;
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, State, Status};

use super::follow::FORGOTTEN;
use super::matching::{EVERY, Listing, Matching};
use crate::client::{Client, RequestError};
use crate::exit::{ExitCode, warn};
use crate::jobs::list;

/// Nothing is left to be watched.
pub(super) const NONE_LEFT: &str = "there is no such job that has not ended";

/// What came of it.
pub(super) enum Waited {
    /// Children run.
    For(Matching),
    /// The command is over, for this reason.
    Over(String, ExitCode),
}

/// What is known of the parent.
struct Parent<'a> {
    job: &'a JobId,
    /// Until then it is waited for while it is not known. None: for ever.
    patience: Option<Duration>,
    unknown_since: Option<Instant>,
    was_known: bool,
}

/// Waits until there are children that run, or the parent has ended, or is given up. Ctrl-C ends the process.
pub(super) fn wait(
    listing: &Listing,
    client: &Client,
    parent: &JobId,
    timeout: Option<Duration>,
) -> Result<Waited, RequestError> {
    let mut parent =
        Parent { job: parent, patience: timeout, unknown_since: None, was_known: false };
    let mut is_first = true;
    loop {
        // First the parent, then its children: what began before it ended is listed.
        let state = client.state(parent.job);
        let matching = listing.first();
        match (state, matching) {
            (_, Ok(matching)) if !matching.jobs.is_empty() => return Ok(Waited::For(matching)),
            // Children may have a parent that is never reported itself.
            (Ok(None), Ok(_)) if has_children(client, parent.job)? => {
                return Ok(Waited::Over(NONE_LEFT.to_owned(), ExitCode::Success));
            }
            (Ok(state), Ok(_)) => {
                if let Some(over) = parent.seen(state.as_ref(), Instant::now()) {
                    return Ok(over);
                }
                if is_first {
                    warn(parent.awaited());
                }
            }
            // Once it has answered, the server is waited for, as while it is watched.
            (Err(error), _) | (_, Err(error)) if is_first || !error.may_pass() => {
                return Err(error);
            }
            _ => {}
        }
        is_first = false;
        thread::sleep(EVERY);
    }
}

fn has_children(client: &Client, parent: &JobId) -> Result<bool, RequestError> {
    list(client, &[("parent", parent.as_str())], 1).map(|children| !children.is_empty())
}

impl Parent<'_> {
    /// Whether the command is over.
    fn seen(&mut self, state: Option<&State>, now: Instant) -> Option<Waited> {
        let Some(state) = state else {
            let since = *self.unknown_since.get_or_insert(now);
            let forgotten = self.was_known.then_some(FORGOTTEN);
            let is_given_up = self
                .patience
                .or(forgotten)
                .is_some_and(|patience| now.saturating_duration_since(since) >= patience);
            let reason = format!("{} is not known, given up", self.job);
            return is_given_up.then_some(Waited::Over(reason, ExitCode::UnknownJob));
        };
        (self.was_known, self.unknown_since) = (true, None);
        let (word, code) = match state.status() {
            Status::Completed => ("completed", ExitCode::Success),
            Status::Failed => ("failed", ExitCode::Failure),
            Status::Cancelled => ("cancelled", ExitCode::Cancelled),
            Status::Queued | Status::Processing => return None,
        };
        let reason = format!("{} has ended: {word}. None of its children runs", self.job);
        Some(Waited::Over(reason, code))
    }

    fn awaited(&self) -> String {
        if self.was_known {
            format!("no child of {} runs yet: waiting", self.job)
        } else {
            format!("{} is not known yet: waiting", self.job)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::watched_jobs::tests::state;
    use super::*;

    fn code(waited: Option<Waited>) -> Option<ExitCode> {
        match waited? {
            Waited::Over(_, code) => Some(code),
            Waited::For(_) => panic!("nothing was listed"),
        }
    }

    #[test]
    fn an_ended_parent_says_how_and_a_running_one_is_awaited() {
        let job = JobId::parse("a").unwrap();
        let now = Instant::now();
        for (status, expected) in [
            ("completed", Some(ExitCode::Success)),
            ("failed", Some(ExitCode::Failure)),
            ("cancelled", Some(ExitCode::Cancelled)),
            ("processing", None),
        ] {
            let mut parent =
                Parent { job: &job, patience: None, unknown_since: None, was_known: false };
            let state = state("a", &format!(r#""status":"{status}","stage":"s""#));
            assert_eq!(code(parent.seen(Some(&state), now)), expected, "{status}");
        }
    }

    #[test]
    fn an_unknown_parent_is_given_up_as_an_unknown_job_is() {
        let job = JobId::parse("a").unwrap();
        let t0 = Instant::now();
        let at = |second| t0 + Duration::from_secs(second);
        let of = |patience| Parent { job: &job, patience, unknown_since: None, was_known: false };
        let mut forever = of(None);
        assert!(forever.seen(None, t0).is_none() && forever.seen(None, at(9999)).is_none());
        let mut for_a_while = of(Some(Duration::from_secs(5)));
        assert!(for_a_while.seen(None, t0).is_none() && for_a_while.seen(None, at(4)).is_none());
        assert_eq!(code(for_a_while.seen(None, at(5))), Some(ExitCode::UnknownJob));
        let mut forgotten = of(None);
        let running = state("a", r#""status":"processing","stage":"s""#);
        assert!(forgotten.seen(Some(&running), t0).is_none());
        assert!(forgotten.seen(None, at(10)).is_none());
        assert_eq!(code(forgotten.seen(None, at(10) + FORGOTTEN)), Some(ExitCode::UnknownJob));
    }
}
