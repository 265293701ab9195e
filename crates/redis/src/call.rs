use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use milepost_protocol::{
    JobId, LogLine, Origin, Position, Request, RequestRefusal, State, Status, Timeline, Timestamp,
    Update,
};
use redis::Cmd;

use crate::Failure;
use crate::arguments::Arguments;
use crate::names::{CLOCKS, INDEX, Names};
use crate::published::Secret;

/// How long, and how much of, a job is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
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

impl Default for Retention {
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
    /// Files, one after the other.
    code: &'static [&'static str],
    /// Whether it may write while the server is out of memory: an end of a job has to be kept.
    whatever_memory: bool,
    hash: OnceLock<String>,
}

impl Script {
    const fn new(code: &'static [&'static str]) -> Self {
        Self { code, whatever_memory: false, hash: OnceLock::new() }
    }

    const fn whatever_memory(code: &'static [&'static str]) -> Self {
        Self { code, whatever_memory: true, hash: OnceLock::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(&self.code()).get_hash().to_owned())
    }

    fn code(&self) -> String {
        let flags = if self.whatever_memory { "#!lua flags=allow-oom\n" } else { "" };
        format!("{flags}{}", self.code.concat())
    }

    /// The command after which the server knows the script.
    pub fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code());
        command
    }
}

/// The fold of what reporters send, without what legacy workers need.
const FOLD: &[&str] = &[
    "local legacy\n",
    include_str!("scripts/attempt.lua"),
    include_str!("scripts/timeline.lua"),
    include_str!("scripts/report.lua"),
];
const LEGACY_FOLD: &[&str] = &[
    include_str!("scripts/legacy.lua"),
    include_str!("scripts/attempt.lua"),
    include_str!("scripts/timeline.lua"),
    include_str!("scripts/report.lua"),
];

static REPORT: Script = Script::new(FOLD);
static REPORT_END: Script = Script::whatever_memory(FOLD);
static LEGACY: Script = Script::new(LEGACY_FOLD);
static LEGACY_END: Script = Script::whatever_memory(LEGACY_FOLD);
static READ: Script = Script::new(&[include_str!("scripts/read.lua")]);
static CLOCK: Script =
    Script::new(&[include_str!("scripts/attempt.lua"), include_str!("scripts/clock.lua")]);
static DUE: Script = Script::new(&[include_str!("scripts/due.lua")]);
static FORGET: Script = Script::new(&[include_str!("scripts/forget.lua")]);
static EXPIRE: Script = Script::new(&[include_str!("scripts/expire.lua")]);
static LOG_APPEND: Script =
    Script::new(&[include_str!("scripts/log.lua"), include_str!("scripts/log_append.lua")]);
static LOG_READ: Script =
    Script::new(&[include_str!("scripts/log.lua"), include_str!("scripts/log_read.lua")]);
static PROBE: Script = Script::new(&[include_str!("scripts/probe.lua")]);

/// One run of a script.
#[derive(Debug)]
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

/// Where an update comes from that is not a reporter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A plain PUBLISH; the one before it has this serial.
    Publish(u64),
    /// What a plain SETEX left under the job's key, word by word. It is not taken if it is no longer there.
    Key(&'a str),
    /// The end of a job whose worker is lost: see [`Update::end_of_lost`]. It is not taken if the job's newest state is not
    /// the one at this position.
    Lost(Position),
}

/// What identifies a server as long as it has lost no state that it took: another one does after a restart or a
/// promotion. Valid on the connection over which it was asked for, for a moment: [`ServerId::VALID`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerId {
    id: Arc<str>,
    /// By the server's clock, in milliseconds.
    until: i64,
}

impl ServerId {
    /// How long an answer is believed. A server cannot be demoted, receive another one's data and be promoted again in
    /// less; a report that comes to it while it is demoted is refused, and ends the connection.
    pub const VALID: Duration = Duration::from_millis(100);

    /// As a script answered that was sent at `sent`, in milliseconds by the server's clock, or later.
    pub fn new(id: &str, sent: i64) -> Self {
        let valid = i64::try_from(Self::VALID.as_millis()).unwrap_or(0);
        Self { id: id.into(), until: sent.saturating_add(valid) }
    }
}

/// What the report script folds.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The update.
    pub update: &'a Update,
    /// None: from a reporter.
    pub source: Option<Source<'a>>,
    /// The time, for an update without a timestamp.
    pub now: Timestamp,
    /// Until when the caller waits, in milliseconds by the server's clock.
    pub deadline: Option<i64>,
    /// The server's identity. Without it the script asks, which takes Redis some microseconds.
    pub server: Option<ServerId>,
    /// Whether to ignore what a legacy worker left under the job's key.
    pub ignore_key: bool,
}

impl<'a> Report<'a> {
    /// A reporter's update, or a legacy worker's.
    pub fn new(update: &'a Update, source: Option<Source<'a>>, now: Timestamp) -> Self {
        Self { update, source, now, deadline: None, server: None, ignore_key: false }
    }

    fn arguments(&self, names: Names, retention: &Retention) -> Arguments {
        let Self { update, source, now, deadline, server, ignore_key } = self;
        let arguments = Arguments::default()
            .text("channel", Some(&names.channel(update.job())))
            .text("publish", Some(names.publish()))
            .text("job", Some(update.job().as_str()))
            .text(
                "origin",
                Some(match source {
                    None => "report",
                    Some(Source::Publish(_)) => "publish",
                    Some(Source::Key(_)) => "key",
                    Some(Source::Lost(_)) => "lost",
                }),
            )
            .text("fields", Some(update.fields()))
            .text("status", Some(update.status().as_str()))
            .number("named", update.attempt().map(|attempt| u32::from(attempt).into()))
            .number("ttl", update.ttl().map(u64::from))
            .text("stage", update.value("stage"))
            .text("progress", update.value("progress"))
            .text("current", update.value("current"))
            .text("total", update.value("total"))
            .text("stage_progress", update.value("stage_progress"))
            .text("given_attributes", given_attributes(update).as_deref())
            .flag("has_timestamp", update.has_timestamp());
        let arguments = bounds(arguments, retention, *now, *deadline, server.as_ref());
        match source {
            Some(Source::Publish(serial)) => arguments.number("after", Some(*serial)),
            Some(Source::Key(value)) => arguments.text("after", Some(value)),
            Some(Source::Lost(position)) => arguments.text("after", Some(&position.to_string())),
            None => arguments.text("after", None),
        }
        .flag("ignore_key", *ignore_key)
    }
}

/// What the report script puts into a job's state for its worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobRequest<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) request: &'a Request,
    pub(crate) now: Timestamp,
}

impl JobRequest<'_> {
    fn arguments(
        self,
        names: Names,
        retention: &Retention,
        deadline: Option<i64>,
        server: Option<&ServerId>,
    ) -> Arguments {
        let Self { job, request, now } = self;
        let arguments = Arguments::default()
            .text("channel", Some(&names.channel(job)))
            .text("publish", Some(names.publish()))
            .text("job", Some(job.as_str()))
            .text("origin", Some("request"))
            .text("fields", Some(&request.to_json(now)))
            .text("status", Some(""))
            .number("named", None)
            .number("ttl", None);
        let of_updates =
            ["stage", "progress", "current", "total", "stage_progress", "given_attributes"];
        let arguments =
            of_updates.into_iter().fold(arguments, |arguments, name| arguments.text(name, None));
        bounds(arguments.flag("has_timestamp", true), retention, now, deadline, server)
            .text("after", Some(request.action.as_str()))
            .flag("ignore_key", false)
    }
}

/// The arguments that any new state needs.
fn bounds(
    arguments: Arguments,
    retention: &Retention,
    now: Timestamp,
    deadline: Option<i64>,
    server: Option<&ServerId>,
) -> Arguments {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
    let moment = |millis: i64| u64::try_from(millis).unwrap_or(0);
    arguments
        .text("random", Some(&random(now)))
        .number("keep", millis(retention.ttl))
        .number("keep_ended", millis(retention.ttl_after_end))
        .number("max_states", u64::try_from(retention.history.get()).ok())
        .number("max_bytes", u64::try_from(retention.history_bytes).ok())
        .number("deadline", deadline.map(moment))
        .text("server", server.map(|server| &*server.id))
        .number("server_until", server.map(|server| moment(server.until)))
}

impl Call {
    /// Puts a request into a job's state.
    pub(crate) fn request(
        names: Names,
        of: JobRequest<'_>,
        retention: &Retention,
        deadline: Option<i64>,
        server: Option<&ServerId>,
    ) -> Self {
        let arguments = of.arguments(names, retention, deadline, server).into_bytes();
        Self { script: &REPORT, keys: written_keys(names, of.job), arguments: vec![arguments] }
    }

    /// Reports an update, or folds one that a legacy worker sent.
    pub fn report(names: Names, report: &Report<'_>, retention: &Retention) -> Self {
        let is_end = report.update.status().is_end();
        let script = match (&report.source, is_end) {
            (None, false) => &REPORT,
            (None | Some(Source::Lost(_)), true) => &REPORT_END,
            (Some(_), false) => &LEGACY,
            (Some(_), true) => &LEGACY_END,
        };
        let keys = written_keys(names, report.update.job());
        Self { script, keys, arguments: vec![report.arguments(names, retention).into_bytes()] }
    }

    /// Reads a job's states after a position, the newest `most`.
    pub fn read(names: Names, job: &JobId, after: Option<Position>, most: usize) -> Self {
        let after = after.map_or_else(String::new, |position| position.to_string());
        Self {
            script: &READ,
            keys: names.keys(job).into(),
            arguments: vec![after.into_bytes(), most.to_string().into_bytes()],
        }
    }

    /// Reads a job's newest `most` states, and its timeline.
    pub(crate) fn history(names: Names, job: &JobId, most: usize) -> Self {
        let mut call = Self::read(names, job, None, most);
        call.arguments.push(b"timeline".to_vec());
        call
    }

    /// The scripts that read a job and fold what legacy workers sent.
    pub fn of_subscriptions() -> [&'static Script; 3] {
        [&READ, &LEGACY, &LEGACY_END]
    }

    pub(crate) fn forget(names: Names, job: &JobId) -> Self {
        let mut keys: Vec<_> = names.keys(job).into();
        if !names.is_cluster() {
            keys.extend(INDEX.map(str::to_owned));
        }
        let channel = names.channel(job);
        let arguments = [&*channel, names.publish(), job.as_str()];
        Self {
            script: &FORGET,
            keys,
            arguments: arguments.map(|text| text.as_bytes().to_vec()).into(),
        }
    }

    /// Which jobs are due for [`clock`](Self::clock), at most so many.
    pub(crate) fn due(most: usize) -> Self {
        Self {
            script: &DUE,
            keys: vec![CLOCKS.to_owned()],
            arguments: vec![most.to_string().into_bytes()],
        }
    }

    /// Appends lines to the log of a job that is known, of which at most `most` bytes are kept.
    pub(crate) fn append_log(
        names: Names,
        job: &JobId,
        lines: &[LogLine],
        most: usize,
        epoch: u64,
    ) -> Self {
        let [_, job_key] = names.keys(job);
        let settings = [format!("{:x}", epoch.max(1)), most.to_string()];
        let lines = lines.iter().map(|line| line.json().as_bytes().to_vec());
        let arguments = settings.map(String::into_bytes).into_iter().chain(lines).collect();
        Self { script: &LOG_APPEND, keys: vec![job_key], arguments }
    }

    /// Reads at most `most` lines of a job's log after a position, or the newest.
    pub(crate) fn read_log(
        names: Names,
        job: &JobId,
        after: Option<Position>,
        most: usize,
    ) -> Self {
        let [_, job_key] = names.keys(job);
        let after = after.map_or_else(String::new, |after| after.to_string());
        let arguments = [after, most.to_string()].map(String::into_bytes).into();
        Self { script: &LOG_READ, keys: vec![job_key], arguments }
    }

    /// Changes a job's health if it is time to. `from` and `asked` are moments by the server's clock, in milliseconds.
    pub(crate) fn clock(names: Names, job: &JobId, from: i64, asked: i64, now: Timestamp) -> Self {
        let mut keys: Vec<_> = names.keys(job).into();
        keys.push(CLOCKS.to_owned());
        let arguments = [
            names.channel(job),
            names.publish().to_owned(),
            job.to_string(),
            from.to_string(),
            asked.to_string(),
            random(now),
        ];
        Self { script: &CLOCK, keys, arguments: arguments.map(String::into_bytes).into() }
    }

    pub(crate) fn expire(most: usize) -> Self {
        Self {
            script: &EXPIRE,
            keys: INDEX.map(str::to_owned).into(),
            arguments: vec![most.to_string().into_bytes()],
        }
    }

    pub(crate) fn probe(names: Names, channel: &str, token: &str) -> Self {
        let [key, jobs_channel] = Names::probed(channel);
        let mut keys = vec![channel.to_owned(), key];
        if !names.is_cluster() {
            keys.push(INDEX[0].to_owned());
        }
        let arguments = [channel, names.publish(), token, &jobs_channel];
        Self {
            script: &PROBE,
            keys,
            arguments: arguments.map(|text| text.as_bytes().to_vec()).into(),
        }
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

/// The attributes that the update sets or ends, as `attempt.lua` reads them: most updates have none.
fn given_attributes(update: &Update) -> Option<String> {
    let set = update.attributes().map(|(attribute, value)| (attribute.as_str(), value));
    let ended = update.cleared().iter().map(|attribute| (attribute.as_str(), ""));
    let lines: Vec<_> =
        set.chain(ended).map(|(name, value)| format!(",\"{name}\":{value}\n")).collect();
    Some(lines.concat()).filter(|lines| !lines.is_empty())
}

/// The keys that the report script writes.
fn written_keys(names: Names, job: &JobId) -> Vec<String> {
    let mut keys: Vec<_> = names.keys(job).into();
    if !names.is_cluster() {
        keys.extend(INDEX.map(str::to_owned));
        keys.push(CLOCKS.to_owned());
    }
    keys
}

fn random(now: Timestamp) -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness the time will do: two lives of one job differ, though their proofs can be guessed.
        bytes = i128::from(now.as_micros()).to_be_bytes();
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
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
    /// It is of a legacy worker, and was taken before.
    Heard {
        /// What it led to, or the newest state.
        state: State,
        /// The publish's serial.
        serial: u64,
    },
    /// It is of a legacy worker, and others that came after it were taken before, or it is no longer under the key. Or it is
    /// the end of a lost job, and there is a newer state.
    Stale,
    /// The job is not known, but a legacy worker set this under its key. It need not be text.
    Adopt(Vec<u8>),
    /// A request that the job does not take.
    NotRequested(RequestRefusal),
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
    /// Of a legacy publish: its serial.
    pub serial: Option<u64>,
    /// The server's identity, if the script had to ask for it.
    pub server: Option<String>,
    /// What the index of jobs is to be told, where that is on another server.
    pub(crate) index: Option<[String; 2]>,
}

impl Taken {
    fn plain(state: State, repeated: bool) -> Self {
        Self { state, repeated, serial: None, server: None, index: None }
    }
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
            json if json.starts_with('{') => Self::Taken(Taken::plain(state(kind)?, false)),
            "new" => {
                let state = state(next()?)?;
                let mut set = || next().map(|text| Some(text).filter(|text| !text.is_empty()));
                let serial = set()?.map(|serial| serial.parse()).transpose();
                let (serial, server) = (serial.map_err(|_| nonsense())?, set()?);
                let index = set()?.zip(set()?).map(|(begun, expires)| [begun, expires]);
                Self::Taken(Taken { state, repeated: false, serial, server, index })
            }
            "repeated" => Self::Taken(Taken::plain(state(next()?)?, true)),
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
            "unknown" => Self::NotRequested(RequestRefusal::UnknownJob),
            "not-cancellable" => Self::NotRequested(RequestRefusal::NotCancellable),
            "cancel-requested" => Self::NotRequested(RequestRefusal::CancelRequested),
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
    pub legacy_value: Option<Vec<u8>>,
    /// The serial of the publish taken last; 0 if none was.
    pub serial: u64,
    /// What the proofs of its published states are made with.
    pub secret: Option<Secret>,
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

    /// Reads what the read script answered for `job` and its timeline. A timeline that cannot be read is as good as none.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn with_timeline(
        mut answer: Answer,
        job: &JobId,
    ) -> Result<(Self, Option<Timeline>), Failure> {
        // Without a state there is no timeline: the job is not known, or only a legacy worker's value is.
        let timeline = if answer.0.len() > 3 { answer.0.pop() } else { None };
        let read = Self::parse(answer, job)?;
        let timeline = timeline.zip(read.states.last());
        let timeline = timeline.and_then(|(bytes, present)| Timeline::decode(&bytes, present));
        Ok((read, timeline))
    }
}

impl From<Source<'_>> for Origin {
    fn from(source: Source<'_>) -> Self {
        match source {
            Source::Publish(_) | Source::Key(_) => Self::Publish,
            Source::Lost(_) => Self::Report,
        }
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::Action;

    use super::*;

    #[test]
    fn arguments_come_as_the_script_names_them() {
        let script = include_str!("scripts/report.lua");
        let (names, _) = script.split_once("= cmsgpack.unpack(ARGV[1])").unwrap();
        let (_, names) = names.split_once("\nlocal ").unwrap();
        let names: Vec<_> = names.split([',', ' ', '\n']).filter(|name| !name.is_empty()).collect();
        let update = Update::parse(None, br#"{"job_id":"a"}"#).unwrap();
        let report = Report::new(&update, None, Timestamp::from_micros(0));
        let arguments = report.arguments(Names::new(false), &Retention::default());
        assert_eq!(arguments.names(), names);
        let request = Request { action: Action::Cancel, by: None, reason: None };
        let now = Timestamp::from_micros(0);
        let of = JobRequest { job: update.job(), request: &request, now };
        let arguments = of.arguments(Names::new(false), &Retention::default(), None, None);
        assert_eq!(arguments.names(), names);
    }
}
