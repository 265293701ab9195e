use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{ChildSummary, JobId, Origin, Position, Request, Timestamp, Update};

use crate::arguments::Arguments;
use crate::names::Names;
use crate::retention::Retention;

/// The origin of an update that no reporter sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A legacy publish. The publish before it has this serial.
    Publish(u64),
    /// The value of the legacy key, verbatim. It is stale if the key has another value by now.
    Key(&'a str),
    /// The end of a job whose worker is lost: see [`Update::end_of_lost`]. It is stale unless the job's newest state is at
    /// this position.
    Lost(Position),
}

/// Identifies a server for as long as it has lost no state. It changes with a restart or a promotion. Valid on the connection
/// over which it was requested, for [`ServerId::VALID`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerId {
    id: Arc<str>,
    /// By the server's clock, in milliseconds.
    until: i64,
}

impl ServerId {
    /// How long an identity is valid. Being demoted, receiving another server's data and being promoted again takes longer. A
    /// demoted server refuses reports, which ends the connection.
    pub const VALID: Duration = Duration::from_millis(100);

    /// The identity that a script answered. The script was sent at `sent` or later, in milliseconds by the server's clock.
    pub fn new(id: &str, sent: i64) -> Self {
        let valid = i64::try_from(Self::VALID.as_millis()).unwrap_or(0);
        Self { id: id.into(), until: sent.saturating_add(valid) }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Until when it is valid, in milliseconds by the server's clock.
    pub(crate) fn until(&self) -> i64 {
        self.until
    }
}

/// The input of the report script.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The update.
    pub update: &'a Update,
    /// None: a reporter sent it.
    pub source: Option<Source<'a>>,
    /// The timestamp of an update that has none.
    pub now: Timestamp,
    /// When the caller stops waiting, in milliseconds by the server's clock.
    pub deadline: Option<i64>,
    /// The server's identity. Without it the script asks the server, which takes some microseconds.
    pub server: Option<ServerId>,
    /// Whether to ignore the value of the legacy key.
    pub ignore_key: bool,
    /// What is known of the name that the update gives its job.
    pub past: Past<'a>,
    /// Whether the answer is to have the job's meta, so that the caller can fold the next report.
    pub wants_meta: bool,
}

/// What is known of earlier attempts of a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past<'a> {
    /// What is recorded of the name: see [`Client::runs`](crate::Client::runs).
    pub runs: Option<&'a [u8]>,
    /// The weights of the stages that the update declares without any: see [`Runs::stage_weights`](milepost_protocol::Runs::stage_weights).
    pub stage_weights: Option<&'a str>,
}

impl<'a> Report<'a> {
    /// A reporter's update, or a legacy worker's.
    pub fn new(update: &'a Update, source: Option<Source<'a>>, now: Timestamp) -> Self {
        let past = Past::default();
        Self {
            update,
            source,
            now,
            deadline: None,
            server: None,
            ignore_key: false,
            past,
            wants_meta: false,
        }
    }

    pub(crate) fn arguments(&self, names: Names, retention: &Retention) -> Arguments {
        let Self { update, source, now, deadline, server, ignore_key, past, wants_meta } = self;
        let arguments = Arguments::default()
            .text("channel", Some(&names.channel(update.job())))
            .text("publish", Some(names.publish()))
            .text("job", Some(update.job().as_str()))
            .text(
                "origin",
                Some(match source {
                    None if update.unless_known() => "first",
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
            .text("given_eta", update.value("eta"))
            .flag("has_eta_high", update.value("eta_high").is_some())
            .flag("is_paused", update.is_paused())
            .flag("has_timestamp", update.has_timestamp());
        let arguments = with_bounds(arguments, retention, *now, *deadline, server.as_ref());
        match source {
            Some(Source::Publish(serial)) => arguments.number("after", Some(*serial)),
            Some(Source::Key(value)) => arguments.text("after", Some(value)),
            Some(Source::Lost(position)) => arguments.text("after", Some(&position.to_string())),
            None => arguments.text("after", None),
        }
        .flag("ignore_key", *ignore_key)
        .bytes("given_usual", past.runs)
        .text("given_weights", past.stage_weights)
        .flag("wants_meta", *wants_meta)
    }
}

/// What the report script puts into a job's state that no worker reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobRequest<'a> {
    pub(crate) job: &'a JobId,
    /// A request for the worker. None: the job's children are shown as they are now.
    pub(crate) request: Option<&'a Request>,
    pub(crate) now: Timestamp,
}

impl JobRequest<'_> {
    pub(crate) fn arguments(
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
            .text("origin", Some(if request.is_some() { "request" } else { "children" }))
            .text("fields", Some(&request.map(|request| request.to_json(now)).unwrap_or_default()))
            .text("status", Some(""))
            .number("named", None)
            .number("ttl", None);
        let of_updates = [
            "stage",
            "progress",
            "current",
            "total",
            "stage_progress",
            "given_attributes",
            "given_eta",
        ];
        let arguments =
            of_updates.into_iter().fold(arguments, |arguments, name| arguments.text(name, None));
        let flags = [("has_eta_high", false), ("is_paused", false), ("has_timestamp", true)];
        let arguments =
            flags.into_iter().fold(arguments, |arguments, (name, is)| arguments.flag(name, is));
        with_bounds(arguments, retention, now, deadline, server)
            .text("after", request.map(|request| request.action.as_str()))
            .flag("ignore_key", false)
            .bytes("given_usual", None)
            .text("given_weights", None)
            .flag("wants_meta", false)
    }
}

/// A change of a child that its parent has to record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChildChange {
    /// The child has entered a state with this summary.
    Summary(ChildSummary),
    /// The child was forgotten.
    Forgotten,
    /// The child has another parent now, or none.
    Gone,
}

impl ChildChange {
    /// The arguments of `child.lua` that describe the child.
    pub(crate) fn arguments(self) -> [(&'static str, Vec<u8>); 6] {
        let values = |status: &str, values: [String; 5]| {
            let [progress, weight, attempt, epoch, number] = values.map(String::into_bytes);
            [
                ("status", status.into()),
                ("progress", progress),
                ("weight", weight),
                ("attempt", attempt),
                ("epoch", epoch),
                ("number", number),
            ]
        };
        match self {
            Self::Summary(child) => values(
                child.status.as_str(),
                [
                    child.progress.to_string(),
                    child.weight.to_string(),
                    child.attempt.to_string(),
                    format!("{:x}", child.position.epoch.0),
                    child.position.number.to_string(),
                ],
            ),
            Self::Forgotten => values("forgotten", Default::default()),
            Self::Gone => values("gone", Default::default()),
        }
    }
}

/// Adds the arguments that updates and requests have in common.
fn with_bounds(
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

/// The attributes that the update sets or clears, in the form that `attempt.lua` reads; none for most updates.
fn given_attributes(update: &Update) -> Option<String> {
    let set = update.attributes().map(|(attribute, value)| (attribute.as_str(), value));
    let cleared = update.cleared().iter().map(|attribute| (attribute.as_str(), ""));
    let lines: Vec<_> =
        set.chain(cleared).map(|(name, value)| format!(",\"{name}\":{value}\n")).collect();
    Some(lines.concat()).filter(|lines| !lines.is_empty())
}

pub(crate) fn random(now: Timestamp) -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness, epochs still differ by the time, but proofs can be guessed.
        bytes = i128::from(now.as_micros()).to_be_bytes();
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
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
        for request in [Some(&request), None] {
            let of = JobRequest { job: update.job(), request, now };
            let arguments = of.arguments(Names::new(false), &Retention::default(), None, None);
            assert_eq!(arguments.names(), names);
        }
    }
}
