use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::time::Duration;

use milepost_protocol::{Epoch, JobId, Origin, Position, State, Status, Timestamp, Update};
use redis::Cmd;

use crate::Failure;
use crate::names::{INDEX, Names};

/// How long, and how much of, a job is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How long after an update, unless the update says.
    pub ttl: Duration,
    /// How long after its end, unless an update said.
    pub ttl_after_end: Duration,
    /// At most so many states in its history, the present one included.
    pub history: NonZeroUsize,
    /// At most so many bytes in its history; the present state is kept whatever its size.
    pub history_bytes: usize,
    /// The largest update of a legacy worker, in bytes.
    pub max_update_bytes: usize,
}

impl Default for Keeping {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self {
            ttl: hour,
            ttl_after_end: hour,
            history: NonZeroUsize::MIN.saturating_add(31),
            history_bytes: 64 << 10,
            max_update_bytes: milepost_protocol::MAX_UPDATE_BYTES,
        }
    }
}

/// One of the scripts in `scripts/`.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    /// Whether it may write while the server is out of memory: an end of a job has to be kept.
    whatever_memory: bool,
    hash: OnceLock<String>,
}

impl Script {
    const fn new(code: &'static str) -> Self {
        Self { code, whatever_memory: false, hash: OnceLock::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(&self.code()).get_hash().to_owned())
    }

    fn code(&self) -> Cow<'static, str> {
        if self.whatever_memory {
            format!("#!lua flags=allow-oom\n{}", self.code).into()
        } else {
            self.code.into()
        }
    }

    /// The command after which the server knows the script.
    pub fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code().as_bytes());
        command
    }
}

static REPORT: Script = Script::new(include_str!("scripts/report.lua"));
static REPORT_END: Script = Script {
    code: include_str!("scripts/report.lua"),
    whatever_memory: true,
    hash: OnceLock::new(),
};
static READ: Script = Script::new(include_str!("scripts/read.lua"));
static FORGET: Script = Script::new(include_str!("scripts/forget.lua"));
static EXPIRE: Script = Script::new(include_str!("scripts/expire.lua"));
static PROBE: Script = Script::new(include_str!("scripts/probe.lua"));

/// One run of a script.
#[derive(Debug)]
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<String>,
}

/// An update that is not a reporter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left<'a> {
    /// A plain PUBLISH; the one before it has this serial.
    Heard(u64),
    /// What a plain SETEX left under the job's key, word by word. It is not taken if it is no longer there.
    Found(&'a str),
}

impl Call {
    /// Reports an update, or takes one that somebody left (`left`). Until `deadline`, in milliseconds by the
    /// server's clock, the caller waits.
    pub fn report(
        names: Names,
        update: &Update,
        left: Option<Left<'_>>,
        keeping: &Keeping,
        now: Timestamp,
        deadline: Option<i64>,
    ) -> Self {
        let script = if update.status().is_end() { &REPORT_END } else { &REPORT };
        let mut keys: Vec<_> = names.keys(update.job()).into();
        if !names.is_cluster() {
            keys.extend(INDEX.map(str::to_owned));
        }
        let number = |number: Option<u32>| number.map_or_else(String::new, |n| n.to_string());
        let millis = |duration: Duration| duration.as_millis().to_string();
        let [stage, progress] = update.stage_and_progress();
        let origin = match left {
            None => "report",
            Some(Left::Heard(_)) => "publish",
            Some(Left::Found(_)) => "key",
        };
        let after = match left {
            Some(Left::Heard(serial)) => serial.to_string(),
            Some(Left::Found(json)) => json.to_owned(),
            None => String::new(),
        };
        let arguments = vec![
            names.channel(update.job()),
            names.publish().to_owned(),
            update.job().to_string(),
            origin.to_owned(),
            update.fields().to_owned(),
            update.status().to_string(),
            number(update.attempt().map(u32::from)),
            number(update.ttl()),
            stage.unwrap_or_default(),
            progress.unwrap_or_default(),
            if update.has_timestamp() { "1".to_owned() } else { String::new() },
            now.to_string(),
            format!("{:x}", new_epoch(now).0),
            millis(keeping.ttl),
            millis(keeping.ttl_after_end),
            keeping.history.to_string(),
            keeping.history_bytes.to_string(),
            deadline.map_or_else(String::new, |deadline| deadline.to_string()),
            after,
            String::new(),
        ];
        Self { script, keys, arguments }
    }

    /// The same report, whatever somebody left under the job's key.
    pub(crate) fn regardless(mut self) -> Self {
        if let Some(last) = self.arguments.last_mut() {
            "1".clone_into(last);
        }
        self
    }

    /// Reads a job's states after a position, the newest `most`.
    pub fn read(names: Names, job: &JobId, after: Option<Position>, most: usize) -> Self {
        let after = after.map_or_else(String::new, |position| position.to_string());
        Self {
            script: &READ,
            keys: names.keys(job).into(),
            arguments: vec![after, most.to_string()],
        }
    }

    /// The scripts of [`report`](Self::report) and [`read`](Self::read).
    pub fn read_or_report() -> [&'static Script; 3] {
        [&READ, &REPORT, &REPORT_END]
    }

    pub(crate) fn forget(names: Names, job: &JobId) -> Self {
        let mut keys: Vec<_> = names.keys(job).into();
        if !names.is_cluster() {
            keys.extend(INDEX.map(str::to_owned));
        }
        let arguments = vec![names.channel(job), names.publish().to_owned(), job.to_string()];
        Self { script: &FORGET, keys, arguments }
    }

    pub(crate) fn expire(most: usize) -> Self {
        Self {
            script: &EXPIRE,
            keys: INDEX.map(str::to_owned).into(),
            arguments: vec![most.to_string()],
        }
    }

    pub(crate) fn probe(names: Names, channel: &str, token: &str) -> Self {
        let [key, jobs_channel] = Names::probed(channel);
        let mut keys = vec![channel.to_owned(), key];
        if !names.is_cluster() {
            keys.push(INDEX[0].to_owned());
        }
        let publish = names.publish().to_owned();
        let arguments = vec![channel.to_owned(), publish, token.to_owned(), jobs_channel];
        Self { script: &PROBE, keys, arguments }
    }

    /// The command that runs it, if the server knows the script.
    pub fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.hash()).arg(self.keys.len());
        command.arg(&self.keys).arg(&self.arguments);
        command
    }

    /// The script that it runs.
    pub fn script(&self) -> &'static Script {
        self.script
    }
}

fn new_epoch(now: Timestamp) -> Epoch {
    // Without randomness the time will do: what must differ are two lives of one job.
    let random = getrandom::u64().ok();
    Epoch(random.unwrap_or_else(|| now.as_micros().unsigned_abs()).max(1))
}

/// What a script answered: a number as its digits. What others wrote under a job's keys need not be text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer(pub Vec<Vec<u8>>);

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::unreadable("UTF-8"))
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was taken, or was before.
    Taken(Taken),
    /// It belongs to an attempt that is over.
    Refused(milepost_protocol::Refusal),
    /// It is of today's worker, and was taken before.
    Heard {
        /// What it led to, or the newest state.
        state: State,
        /// The publish's serial.
        serial: u64,
    },
    /// It is of today's worker, and others that came after it were taken before, or it is no longer under the key.
    Stale,
    /// The job is not known, but a legacy worker set this under its key. It need not be text.
    Adopt(Vec<u8>),
    /// The caller's time was over by the server's clock, which says this many milliseconds.
    Late(i64),
}

/// An update that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The state that it led to.
    pub state: State,
    /// Whether it is an end reported again, which changed nothing.
    pub repeated: bool,
    /// The serial of the publish that was taken last.
    pub serial: u64,
    /// What the index of jobs is to be told, where that is on another server.
    pub(crate) index: Option<[String; 2]>,
}

impl Reply {
    /// Reads what the report script answered. `named` is the attempt that the update named.
    ///
    /// # Errors
    /// [`Failure::Unreadable`] when it is none of its answers.
    pub fn parse(answer: Answer, named: Option<u32>) -> Result<Self, Failure> {
        let nonsense = || Failure::unreadable("a state");
        let mut parts = answer.0.into_iter();
        let mut next = || text(parts.next().ok_or_else(nonsense)?);
        let kind = next()?;
        let state = |json: String| State::parse(&json).map_err(|_| nonsense());
        let position = |text: String| Position::parse(&text).ok_or_else(nonsense);
        Ok(match kind.as_str() {
            "new" => {
                let state = state(next()?)?;
                let serial = next()?.parse().map_err(|_| nonsense())?;
                let index = match (next(), next()) {
                    (Ok(begun), Ok(expires)) => Some([begun, expires]),
                    _ => None,
                };
                Self::Taken(Taken { state, repeated: false, serial, index })
            }
            "repeated" => {
                let (state, serial, index) = (state(next()?)?, 0, None);
                Self::Taken(Taken { state, repeated: true, serial, index })
            }
            "ended" => Self::Refused(milepost_protocol::Refusal::AttemptEnded {
                attempt: next()?.parse().map_err(|_| nonsense())?,
                status: Status::from_name(&next()?).ok_or_else(nonsense)?,
                position: position(next()?)?,
            }),
            "superseded" => Self::Refused(milepost_protocol::Refusal::AttemptSuperseded {
                named: named.unwrap_or_default(),
                attempt: next()?.parse().map_err(|_| nonsense())?,
                position: position(next()?)?,
            }),
            "heard" => Self::Heard {
                state: state(next()?)?,
                serial: next()?.parse().map_err(|_| nonsense())?,
            },
            "stale" => Self::Stale,
            "adopt" => Self::Adopt(parts.next().ok_or_else(nonsense)?),
            "late" => Self::Late(next()?.parse().map_err(|_| nonsense())?),
            _ => return Err(nonsense()),
        })
    }
}

/// What is kept of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Whether there is anything.
    pub known: bool,
    /// What a legacy worker set under the key, unless it is the newest state. It need not be text.
    pub left: Option<Vec<u8>>,
    /// The serial of the publish taken last; 0 if none was.
    pub serial: u64,
    /// The states that were asked for, oldest first.
    pub states: Vec<State>,
}

impl Read {
    /// Reads what the read script answered for `job`.
    ///
    /// # Errors
    /// [`Failure::Unreadable`] when it is none of its answers.
    pub fn parse(answer: Answer, job: &JobId) -> Result<Self, Failure> {
        let mut parts = answer.0.into_iter();
        let Some(left) = parts.next() else { return Ok(Self::default()) };
        let serial = text(parts.next().unwrap_or_default())?.parse();
        let serial = serial.map_err(|_| Failure::unreadable("a serial"))?;
        let state = |json: Vec<u8>| match State::parse(&text(json)?) {
            Ok(state) if state.job() == job => Ok(state),
            Ok(_) => Err(Failure::unreadable("states of this job")),
            Err(_) => Err(Failure::unreadable("states")),
        };
        let states = parts.rev().map(state).collect::<Result<_, _>>()?;
        let left = Some(left).filter(|left| !left.is_empty());
        Ok(Self { known: true, left, serial, states })
    }
}

impl From<Left<'_>> for Origin {
    fn from(_: Left<'_>) -> Self {
        Self::Publish
    }
}
