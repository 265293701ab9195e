use milepost_protocol::{JobId, State, Timeline};

use crate::Failure;
use crate::answer::{Answer, text};
use crate::published::Secret;

/// What Redis holds for a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Whether the job is known.
    pub known: bool,
    /// The value of the legacy key, unless it is the newest state. It need not be text.
    pub legacy_value: Option<Vec<u8>>,
    /// The serial of the last folded legacy publish; 0 without one.
    pub serial: u64,
    /// The secret with which the proofs of its published states are made.
    pub secret: Option<Secret>,
    /// The requested states, oldest first.
    pub states: Vec<State>,
}

impl Read {
    /// Parses the read script's answer for `job`.
    ///
    /// # Errors
    /// [`Failure::Unreadable`] when the script has no such answer.
    pub fn parse(answer: Answer, job: &JobId) -> Result<Self, Failure> {
        let mut parts = answer.0.into_iter();
        let Some(legacy_value) = parts.next() else { return Ok(Self::default()) };
        let serial = text(parts.next().unwrap_or_default())?.parse();
        let serial = serial.map_err(|_| Failure::unreadable("a serial"))?;
        let secret = text(parts.next().unwrap_or_default())?;
        let secret = Some(secret).filter(|secret| !secret.is_empty()).map(Secret);
        let state = |json: Vec<u8>| match State::parse(&text(json)?) {
            Ok(state) if state.job() == job => Ok(state),
            Ok(_) => Err(Failure::unreadable("states of this job")),
            Err(_) => Err(Failure::unreadable("states")),
        };
        let states = parts.rev().map(state).collect::<Result<_, _>>()?;
        let legacy_value = Some(legacy_value).filter(|value| !value.is_empty());
        Ok(Self { known: true, legacy_value, serial, secret, states })
    }

    /// Parses the read script's answer for `job` and its timeline. An unreadable timeline counts as none.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn with_timeline(
        mut answer: Answer,
        job: &JobId,
    ) -> Result<(Self, Option<Timeline>), Failure> {
        // Without a state there is no timeline: the job is unknown, or has a legacy value only.
        let timeline = if answer.0.len() > 3 { answer.0.pop() } else { None };
        let read = Self::parse(answer, job)?;
        let timeline = timeline.zip(read.states.last());
        let timeline = timeline.and_then(|(bytes, present)| Timeline::decode(&bytes, present));
        Ok((read, timeline))
    }
}
