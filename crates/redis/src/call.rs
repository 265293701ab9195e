use std::time::Duration;

use milepost_protocol::{
    JobId, LogLine, MAX_CHILDREN, MAX_RUNS, MAX_STAGE_RECORD_BYTES, NAME_TTL, Position, Run, State,
    Timestamp,
};
use redis::Cmd;

use crate::arguments::Arguments;
use crate::names::{CLOCKS, INDEX, NAMES_IN_BUCKET, Names, PARENTS};
use crate::report::{ChildChange, JobRequest, Report, ServerId, Source, random};
use crate::retention::Retention;
use crate::script::{
    CHILD, CLOCK, CLOCK_NEXT, DUE, EXPIRE, FORGET, LEGACY, LEGACY_END, LOG_APPEND, LOG_READ, PROBE,
    READ, REPORT, REPORT_END, RUNS, SILENT, SWAP, Script,
};

/// One run of a script.
#[derive(Debug)]
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

/// In a Cluster, jobs that are due for a check are due again after this time, in milliseconds, unless it is written when they are
/// due next. Half a millisecond more makes it a score that no report writes.
const DUE_AGAIN: i64 = 2_000;

impl Call {
    /// A run of a script whose arguments have the given names, in the script's order.
    fn named<const N: usize>(
        script: &'static Script,
        keys: Vec<String>,
        arguments: [(&'static str, Vec<u8>); N],
    ) -> Self {
        debug_assert_eq!(arguments.each_ref().map(|(name, _)| *name), *script.argument_names());
        Self { script, keys, arguments: arguments.map(|(_, value)| value).into() }
    }

    /// A run of a script that folds, whose only argument has all others in it.
    fn fold(script: &'static Script, keys: Vec<String>, arguments: Arguments) -> Self {
        Self { script, keys, arguments: vec![arguments.into_bytes()] }
    }

    /// Puts a request for the job's worker, or the totals of the job's children, into the job's state.
    pub(crate) fn request(
        names: Names,
        of: JobRequest<'_>,
        retention: &Retention,
        deadline: Option<i64>,
        server: Option<&ServerId>,
    ) -> Self {
        let arguments = of.arguments(names, retention, deadline, server);
        Self::fold(&REPORT, written_keys(names, of.job), arguments)
    }

    /// Shows a job's children in its state as they are now.
    pub fn children(names: Names, job: &JobId, now: Timestamp, retention: &Retention) -> Self {
        Self::request(names, JobRequest { job, request: None, now }, retention, None, None)
    }

    /// Folds an update of a reporter or a legacy worker.
    pub fn report(names: Names, report: &Report<'_>, retention: &Retention) -> Self {
        let is_end = report.update.status().is_end();
        let script = match (&report.source, is_end) {
            (None, false) => &REPORT,
            (None | Some(Source::Lost(_)), true) => &REPORT_END,
            (Some(_), false) => &LEGACY,
            (Some(_), true) => &LEGACY_END,
        };
        let keys = written_keys(names, report.update.job());
        Self::fold(script, keys, report.arguments(names, retention))
    }

    /// Stores a job's next state, which was folded here, if the job still has the first `meta`; the second one is the new one.
    /// `fields` are those of the state, and of the state after it. `expires` and `until` are in milliseconds by the server's clock.
    pub(crate) fn swap(
        names: Names,
        state: &State,
        [before, after]: [&[u8]; 2],
        [field, next_field]: [u64; 2],
        expires: u64,
        until: i64,
        proof: &str,
    ) -> Self {
        let arguments = [
            ("before", before.to_vec()),
            ("after", after.to_vec()),
            ("state", state.json().into()),
            ("field", text(&field)),
            ("expires", text(&expires)),
            ("valid_until", text(&until)),
            ("publish", names.publish().into()),
            ("channel", names.channel(state.job()).into()),
            ("proof", proof.into()),
            ("next_field", text(&next_field)),
        ];
        Self::named(&SWAP, names.keys(state.job()).into(), arguments)
    }

    /// Reads the newest `most` of a job's states after a position.
    pub fn read(names: Names, job: &JobId, after: Option<Position>, most: usize) -> Self {
        Self::states(names, job, after, most, false)
    }

    /// Reads a job's newest `most` states, and its timeline.
    pub(crate) fn history(names: Names, job: &JobId, most: usize) -> Self {
        Self::states(names, job, None, most, true)
    }

    fn states(
        names: Names,
        job: &JobId,
        after: Option<Position>,
        most: usize,
        has_timeline: bool,
    ) -> Self {
        let arguments = [
            ("position", after.map_or_else(Vec::new, |position| text(&position))),
            ("max_states", text(&most)),
            ("has_timeline", text(&u8::from(has_timeline))),
        ];
        Self::named(&READ, names.keys(job).into(), arguments)
    }

    /// The scripts that a subscriber runs: those that read a job, and fold legacy publishes.
    pub fn of_subscriptions() -> [&'static Script; 3] {
        [&READ, &LEGACY, &LEGACY_END]
    }

    pub(crate) fn forget(names: Names, job: &JobId) -> Self {
        let mut keys: Vec<_> = names.keys(job).into();
        if !names.is_cluster() {
            keys.extend(INDEX.map(str::to_owned));
        }
        let arguments = [
            ("channel", names.channel(job).into()),
            ("publish", names.publish().into()),
            ("job", job.as_str().into()),
        ];
        Self::named(&FORGET, keys, arguments)
    }

    /// Finds at most `most` jobs whose children are due to be shown. They are due again after `again`.
    pub(crate) fn due_parents(most: usize, again: Duration) -> Self {
        let arguments = [("most", text(&most)), ("again", text(&again.as_millis()))];
        Self::named(&DUE, vec![PARENTS.to_owned()], arguments)
    }

    /// Records how long an attempt took, under the name of its job.
    pub fn run(run: &Run<'_>) -> Self {
        let mut stages = Vec::new();
        for (id, millis) in &run.stages {
            stages.extend(millis.to_be_bytes());
            stages.extend(u16::try_from(id.len()).unwrap_or(0).to_be_bytes());
            stages.extend(id.as_bytes());
        }
        let arguments = [
            ("name", text(&run.name)),
            ("tenths", text(&run.tenths)),
            ("keep", text(&NAME_TTL.as_millis())),
            ("max_runs", text(&MAX_RUNS)),
            ("max_names", text(&NAMES_IN_BUCKET)),
            ("stages", stages),
            ("max_bytes", text(&MAX_STAGE_RECORD_BYTES)),
        ];
        Self::named(&RUNS, vec![Names::runs(&run.name)], arguments)
    }

    /// Records a change of a child in its parent's keys.
    pub(crate) fn child(
        names: Names,
        parent: &JobId,
        job: &JobId,
        change: ChildChange,
        retention: &Retention,
    ) -> Self {
        /// How long after a change the parent shows it, in milliseconds. Further changes until then are shown with it.
        const INTERVAL: u32 = 200;
        let [_, job_key] = names.keys(parent);
        let mut keys = vec![job_key];
        if !names.is_cluster() {
            keys.push(PARENTS.to_owned());
        }
        let [status, progress, weight, attempt, epoch, number] = change.arguments();
        let arguments = [
            ("parent", parent.as_str().into()),
            ("child", job.as_str().into()),
            status,
            progress,
            weight,
            attempt,
            epoch,
            number,
            ("keep", text(&retention.ttl.as_millis())),
            ("max_children", text(&MAX_CHILDREN)),
            ("interval", text(&INTERVAL)),
        ];
        Self::named(&CHILD, keys, arguments)
    }

    /// Finds at most `most` jobs that are due for [`clock`](Self::clock).
    pub(crate) fn due(names: Names, most: usize) -> Self {
        let again = if names.is_cluster() { format!("{DUE_AGAIN}.5") } else { String::new() };
        let arguments = [("most", text(&most)), ("again", again.into())];
        Self::named(&DUE, vec![CLOCKS.to_owned()], arguments)
    }

    /// Writes when jobs that were due at `asked` are due next; none: not any more. Only in a Cluster.
    pub(crate) fn clock_next(asked: i64, jobs: &[(JobId, Option<i64>)]) -> Self {
        let score = format!("{}.5", asked.saturating_add(DUE_AGAIN));
        let arguments = [("given_score", score.into())];
        let mut call = Self::named(&CLOCK_NEXT, vec![CLOCKS.to_owned()], arguments);
        for (job, next) in jobs {
            call.arguments
                .extend([job.as_str().into(), next.map_or_else(Vec::new, |it| text(&it))]);
        }
        call
    }

    /// Appends lines to the log of a known job, and drops the oldest lines beyond `most` bytes.
    pub(crate) fn append_log(
        names: Names,
        job: &JobId,
        lines: &[LogLine],
        most: usize,
        epoch: u64,
    ) -> Self {
        let [_, job_key] = names.keys(job);
        let new_epoch = format!("{:x}", epoch.max(1));
        let arguments = [("new_epoch", new_epoch.into()), ("max_bytes", text(&most))];
        let mut call = Self::named(&LOG_APPEND, vec![job_key], arguments);
        call.arguments.extend(lines.iter().map(|line| line.json().into()));
        call
    }

    /// Reads at most `most` lines of a job's log after a position, or the newest ones.
    pub(crate) fn read_log(
        names: Names,
        job: &JobId,
        after: Option<Position>,
        most: usize,
    ) -> Self {
        let [_, job_key] = names.keys(job);
        let arguments =
            [("position", after.map_or_else(Vec::new, |it| text(&it))), ("most", text(&most))];
        Self::named(&LOG_READ, vec![job_key], arguments)
    }

    /// Counts the workers of some jobs, and those that are silent.
    pub(crate) fn silent(names: Names, jobs: &[JobId], from: i64) -> Self {
        let key = |job| {
            let [_, job_key] = names.keys(job);
            job_key
        };
        let keys = jobs.iter().map(key).collect();
        Self::named(&SILENT, keys, [("from", text(&from))])
    }

    /// Changes a job's health if it is due. `from` and `asked` are by the server's clock, in milliseconds.
    pub(crate) fn clock(
        names: Names,
        job: &JobId,
        (from, asked): (i64, i64),
        holds: bool,
        now: Timestamp,
    ) -> Self {
        let mut keys: Vec<_> = names.keys(job).into();
        if !names.is_cluster() {
            keys.push(CLOCKS.to_owned());
        }
        let arguments = [
            ("channel", names.channel(job).into()),
            ("publish", names.publish().into()),
            ("job", job.as_str().into()),
            ("from", text(&from)),
            ("asked", text(&asked)),
            ("random", random(now).into()),
            ("holds", text(&u8::from(holds))),
        ];
        Self::named(&CLOCK, keys, arguments)
    }

    pub(crate) fn expire(most: usize) -> Self {
        Self::named(&EXPIRE, INDEX.map(str::to_owned).into(), [("most", text(&most))])
    }

    pub(crate) fn probe(names: Names, channel: &str, token: &str) -> Self {
        let [key, jobs_channel] = Names::probed(channel);
        let mut keys = vec![channel.to_owned(), key];
        if !names.is_cluster() {
            keys.push(INDEX[0].to_owned());
        }
        let arguments = [
            ("channel", channel.into()),
            ("publish", names.publish().into()),
            ("message", token.into()),
            ("jobs_channel", jobs_channel.into()),
        ];
        Self::named(&PROBE, keys, arguments)
    }

    /// The command that runs the script, if the server knows it.
    pub fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.hash()).arg(self.keys.len());
        command.arg(&self.keys).arg(&self.arguments);
        command
    }

    /// The script.
    pub fn script(&self) -> &'static Script {
        self.script
    }
}

fn text(value: &impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// [`Call::named`] compares the names with the script's.
    #[test]
    fn arguments_have_the_names_that_the_scripts_give_them() {
        let job = JobId::parse("a").unwrap();
        let run = Run { name: "render".into(), tenths: 1, stages: Vec::new() };
        let now = Timestamp::from_micros(0);
        for names in [Names::new(false), Names::new(true)] {
            let calls = [
                Call::read(names, &job, None, 1),
                Call::history(names, &job, 1),
                Call::forget(names, &job),
                Call::due_parents(1, Duration::ZERO),
                Call::run(&run),
                Call::child(names, &job, &job, ChildChange::Gone, &Retention::default()),
                Call::due(names, 1),
                Call::clock_next(1, &[]),
                Call::append_log(names, &job, &[], 1, 1),
                Call::read_log(names, &job, None, 1),
                Call::silent(names, &[], 1),
                Call::clock(names, &job, (1, 1), true, now),
                Call::expire(1),
                Call::probe(names, "a", "b"),
            ];
            for call in calls {
                assert!(!call.arguments.is_empty(), "{:?}", call.script);
                assert_eq!(call.arguments.len(), call.script.argument_names().len());
            }
        }
    }
}
