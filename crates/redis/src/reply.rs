use milepost_protocol::{InvalidParent, JobId, Position, RequestRefusal, State, Status};

use crate::Failure;
use crate::answer::{Answer, text};

/// The report script's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The update was accepted, now or before.
    Accepted(Accepted),
    /// The update belongs to an attempt that is over.
    Refused(milepost_protocol::Refusal),
    /// Another instance has folded this legacy publish before.
    AlreadyFolded {
        /// The state that it led to, or the newest one.
        state: State,
        /// The publish's serial.
        serial: u64,
    },
    /// The update came too late: a later legacy publish was folded before, the legacy key has another value by now, or a lost
    /// job has a newer state.
    Stale,
    /// The job is not known, but a legacy worker set this value under its key. It need not be text.
    Adopt(Vec<u8>),
    /// The job does not accept this request. If it was to show its children: it is not known.
    RequestRefused(RequestRefusal),
    /// The job cannot be a child of the parent that the update names.
    InvalidParent(InvalidParent),
    /// The deadline had passed. The value is the server's clock, in milliseconds.
    Late(i64),
}

/// An accepted update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The state that it led to.
    pub state: State,
    /// Whether it changed nothing: it is an end reported again, or counts only if the attempt is not known.
    pub repeated: bool,
    /// The serial of a legacy publish.
    pub serial: Option<u64>,
    /// The server's identity, if the script had to ask for it.
    pub server: Option<String>,
    /// The job's scores for the index of jobs, if that is on another server.
    pub(crate) index: Option<[String; 2]>,
    /// The parent of the state before, if the job has another one now, or none.
    pub(crate) left: Option<JobId>,
    /// The job's score for the list of clocks, if that is on another server.
    pub(crate) clock: Option<String>,
    /// The job's meta, and the length of the state that the next one overwrites, if the caller wanted them.
    pub(crate) meta: Option<(Vec<u8>, u64)>,
}

impl Accepted {
    pub(crate) fn plain(state: State, repeated: bool) -> Self {
        Self {
            state,
            repeated,
            serial: None,
            server: None,
            index: None,
            left: None,
            clock: None,
            meta: None,
        }
    }
}

impl Reply {
    /// Parses the report script's answer. `named` is the attempt that the update named.
    ///
    /// # Errors
    /// [`Failure::Unreadable`] when the script has no such answer.
    pub fn parse(answer: Answer, named: Option<u32>) -> Result<Self, Failure> {
        let unexpected = || Failure::unreadable("a state");
        let mut parts = answer.0.into_iter();
        let mut next = || text(parts.next().ok_or_else(unexpected)?);
        let kind = next()?;
        let state = |json: String| State::parse(&json).map_err(|_| unexpected());
        let position = |text: String| Position::parse(&text).ok_or_else(unexpected);
        Ok(match kind.as_str() {
            json if json.starts_with('{') => Self::Accepted(Accepted::plain(state(kind)?, false)),
            "new" => {
                let state = state(next()?)?;
                let mut set = || next().map(|text| Some(text).filter(|text| !text.is_empty()));
                let serial = set()?.map(|serial| serial.parse()).transpose();
                let (serial, server) = (serial.map_err(|_| unexpected())?, set()?);
                let index = set()?.zip(set()?).map(|(begun, expires)| [begun, expires]);
                let left = set()?.and_then(|parent| JobId::parse(&parent).ok());
                let clock = set()?;
                let meta = match (parts.next(), parts.next()) {
                    (Some(meta), Some(length)) => {
                        Some((meta, text(length)?.parse().map_err(|_| unexpected())?))
                    }
                    _ => None,
                };
                Self::Accepted(Accepted {
                    state,
                    repeated: false,
                    serial,
                    server,
                    index,
                    left,
                    clock,
                    meta,
                })
            }
            "repeated" => Self::Accepted(Accepted::plain(state(next()?)?, true)),
            "ended" => Self::Refused(milepost_protocol::Refusal::AttemptEnded {
                attempt: next()?.parse().map_err(|_| unexpected())?,
                status: Status::from_name(&next()?).ok_or_else(unexpected)?,
                position: position(next()?)?,
            }),
            "superseded" => Self::Refused(milepost_protocol::Refusal::AttemptSuperseded {
                named: named.unwrap_or_default(),
                attempt: next()?.parse().map_err(|_| unexpected())?,
                position: position(next()?)?,
            }),
            "folded" => Self::AlreadyFolded {
                state: state(next()?)?,
                serial: next()?.parse().map_err(|_| unexpected())?,
            },
            "stale" => Self::Stale,
            "adopt" => Self::Adopt(parts.next().ok_or_else(unexpected)?),
            "unknown" => Self::RequestRefused(RequestRefusal::UnknownJob),
            "not-cancellable" => Self::RequestRefused(RequestRefusal::NotCancellable),
            "cancel-requested" => Self::RequestRefused(RequestRefusal::CancelRequested),
            "late" => Self::Late(next()?.parse().map_err(|_| unexpected())?),
            _ => return Err(unexpected()),
        })
    }
}
