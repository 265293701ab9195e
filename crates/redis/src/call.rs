use std::time::Duration;

use milepost_protocol::{
    JobId, LogLine, MAX_CHILDREN, MAX_RUNS, MAX_STAGE_RECORD_BYTES, NAME_TTL, Position, Run, State,
    Timestamp,
};
use redis::Cmd;

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
    /// Puts a request for the job's worker, or the totals of the job's children, into the job's state.
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
        Self { script, keys, arguments: vec![report.arguments(names, retention).into_bytes()] }
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
        let text = |number: &dyn ToString| number.to_string().into_bytes();
        let arguments = vec![
            before.to_vec(),
            after.to_vec(),
            state.json().as_bytes().to_vec(),
            text(&field),
            text(&expires),
            text(&until),
            names.publish().as_bytes().to_vec(),
            names.channel(state.job()).into_bytes(),
            proof.as_bytes().to_vec(),
            text(&next_field),
        ];
        Self { script: &SWAP, keys: names.keys(state.job()).into(), arguments }
    }

    /// Reads the newest `most` of a job's states after a position.
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

    /// The scripts that a subscriber runs: those that read a job, and fold legacy publishes.
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

    /// Finds at most `most` jobs whose children are due to be shown. They are due again after `again`.
    pub(crate) fn due_parents(most: usize, again: Duration) -> Self {
        let arguments = [most.to_string(), again.as_millis().to_string()];
        Self {
            script: &DUE,
            keys: vec![PARENTS.to_owned()],
            arguments: arguments.map(String::into_bytes).into(),
        }
    }

    /// Records how long an attempt took, under the name of its job.
    pub fn run(run: &Run<'_>) -> Self {
        let bounds = [NAME_TTL.as_millis(), MAX_RUNS as u128, NAMES_IN_BUCKET as u128];
        let arguments = [run.name.to_string(), run.tenths.to_string()];
        let arguments = arguments.into_iter().chain(bounds.map(|bound| bound.to_string()));
        let mut stages = Vec::new();
        for (id, millis) in &run.stages {
            stages.extend(millis.to_be_bytes());
            stages.extend(u16::try_from(id.len()).unwrap_or(0).to_be_bytes());
            stages.extend(id.as_bytes());
        }
        let most = MAX_STAGE_RECORD_BYTES.to_string().into_bytes();
        let arguments = arguments.map(String::into_bytes).chain([stages, most]).collect();
        Self { script: &RUNS, keys: vec![Names::runs(&run.name)], arguments }
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
        const INTERVAL: &str = "200";
        let [_, job_key] = names.keys(parent);
        let mut keys = vec![job_key];
        if !names.is_cluster() {
            keys.push(PARENTS.to_owned());
        }
        let bounds =
            [retention.ttl.as_millis().to_string(), MAX_CHILDREN.to_string(), INTERVAL.to_owned()];
        let arguments = [parent.to_string(), job.to_string()]
            .into_iter()
            .chain(change.arguments())
            .chain(bounds);
        Self { script: &CHILD, keys, arguments: arguments.map(String::into_bytes).collect() }
    }

    /// Finds at most `most` jobs that are due for [`clock`](Self::clock).
    pub(crate) fn due(names: Names, most: usize) -> Self {
        let mut arguments = vec![most.to_string().into_bytes()];
        if names.is_cluster() {
            arguments.push(format!("{DUE_AGAIN}.5").into_bytes());
        }
        Self { script: &DUE, keys: vec![CLOCKS.to_owned()], arguments }
    }

    /// Writes when jobs that were due at `asked` are due next; none: not any more. Only in a Cluster.
    pub(crate) fn clock_next(asked: i64, jobs: &[(JobId, Option<i64>)]) -> Self {
        let mut arguments = vec![format!("{}.5", asked.saturating_add(DUE_AGAIN)).into_bytes()];
        for (job, next) in jobs {
            arguments.push(job.as_str().as_bytes().to_vec());
            arguments.push(next.map(|next| next.to_string()).unwrap_or_default().into_bytes());
        }
        Self { script: &CLOCK_NEXT, keys: vec![CLOCKS.to_owned()], arguments }
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
        let settings = [format!("{:x}", epoch.max(1)), most.to_string()];
        let lines = lines.iter().map(|line| line.json().as_bytes().to_vec());
        let arguments = settings.map(String::into_bytes).into_iter().chain(lines).collect();
        Self { script: &LOG_APPEND, keys: vec![job_key], arguments }
    }

    /// Reads at most `most` lines of a job's log after a position, or the newest ones.
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

    /// Counts the workers of some jobs, and those that are silent.
    pub(crate) fn silent(names: Names, jobs: &[JobId], from: i64) -> Self {
        let key = |job| {
            let [_, job_key] = names.keys(job);
            job_key
        };
        let keys = jobs.iter().map(key).collect();
        Self { script: &SILENT, keys, arguments: vec![from.to_string().into_bytes()] }
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
            names.channel(job),
            names.publish().to_owned(),
            job.to_string(),
            from.to_string(),
            asked.to_string(),
            random(now),
            u8::from(holds).to_string(),
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

/// The keys that the report script writes.
fn written_keys(names: Names, job: &JobId) -> Vec<String> {
    let mut keys: Vec<_> = names.keys(job).into();
    if !names.is_cluster() {
        keys.extend(INDEX.map(str::to_owned));
        keys.push(CLOCKS.to_owned());
    }
    keys
}
