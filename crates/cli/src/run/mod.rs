//! `milepost run`: a command as a job.

mod announcer;
mod child;
mod ci_log;
mod delivery;
mod error_tail;
mod github;
mod location;
mod observers;
mod outcome;
mod output_log;
mod own_estimate;
mod parse_budget;
mod pip;
mod pty;
mod relay;
mod reported_job;
mod requests;
mod signals;
mod supervise;
mod tracker;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use milepost_protocol::{InvalidJobId, JobId};
use milepost_reporter::{InvalidUrl, Job, Notice, Reporter};

use announcer::Announcer;
use ci_log::CiLog;
use delivery::{Delivered, ReportDelivery};
use output_log::OutputLog;
use pty::Pty;
use requests::Answering;
use signals::Cancellation;

pub(crate) use child::CannotStart;
pub(crate) use location::page;
pub(crate) use outcome::Outcome;
pub(crate) use relay::Destination;
pub(crate) use reported_job::ReportedJob;
pub(crate) use signals::Signals;
pub(crate) use supervise::{OutputTargets, Task};

use crate::bars::Terminal;
use crate::client::{Client, ServerArgs};
use crate::exit::ExitCode;

/// How long a server may take to answer whether the job ran before. The command waits for it.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Run a command as a job: show its progress here, and report it to a server.
///
/// The command's stdin, output, signals and exit code pass through unchanged. The command runs whether or not the server can be
/// reached. The progress comes from the command's output: ffmpeg; percentages and counts (curl, rsync --info=progress2, pip, tqdm,
/// wget, git, ninja, …); and lines of JSON ({"progress":0.4,"stage":"…","message":"…"}).
///
/// A program that writes to a pipe instead of a terminal may print its progress late or not at all. Most have an option to change that
/// (git --progress, rsync --outbuf=L, python -u).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: the command's; 128+n if signal n ended it; 127 if there is no such command, 126 if it cannot be run."
)]
pub(crate) struct Args {
    /// The job's id [default: the command's name and some random characters]
    #[arg(long, value_name = "ID", value_parser = JobId::parse)]
    job: Option<JobId>,
    /// The job's attempt, counted from 1 [default: the next one, if the job has ended before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// What to call the job's work [default: the command's own stages, if it names any]
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// The kind of job, to find and group jobs by
    #[arg(long, value_name = "NAME", value_parser = crate::argument_values::keyword)]
    name: Option<String>,
    /// A word to find the job by. May be given several times, 16 at most
    #[arg(long = "tag", value_name = "TAG", value_parser = crate::argument_values::keyword)]
    tags: Vec<String>,
    /// The job that this one is a part of. Its progress then follows its parts, unless it has one of its own. The command's own
    /// `milepost run`s are parts of this job
    #[arg(long, value_name = "ID", value_parser = Parent::parse, env = "MILEPOST_PARENT")]
    parent: Option<Parent>,
    /// How much of its parent the job is, beside other parts [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = weight, requires = "parent")]
    weight: Option<f64>,
    /// How many seconds after SIGTERM the command gets SIGKILL, when a watcher cancels it
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    cancel_grace: u32,
    /// How long to wait after the command for the server to accept the job's end [default: 10 if the server has answered before,
    /// else 2, or 0.3 if it was away from the start or refuses the credential]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=3600))]
    wait: Option<u32>,
    /// Report no text of the command's output: neither its lines as the job's log, nor as the message, stage, result or error
    #[arg(long)]
    no_log: bool,
    /// Give the command a terminal of its own, as `script` and ssh -t do. It then prints colours and bars, and all of its output
    /// goes to stdout
    #[arg(long)]
    pty: bool,
    /// Show no bar, and print no messages of Milepost
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    server: ServerArgs,
    /// The command and its arguments; after -- if the command begins with a hyphen
    // Without `allow_hyphen_values`: an unknown option before the command would be taken for it.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        if let Err(error) = crate::argument_values::check_tags(&self.tags) {
            return crate::exit::complain(error, ExitCode::Usage);
        }
        let mut task = Task::new(self.command, self.stage);
        task.hides_text = self.no_log;
        let job = self.job.clone().unwrap_or_else(|| default_id(&task.program));
        let pty = match self.pty.then(Pty::open).transpose() {
            Ok(pty) => pty,
            Err(error) => {
                let what = format_args!("the system gives no terminal for --pty: {error}");
                return crate::exit::complain(what, ExitCode::Failure);
            }
        };
        let announcer = Announcer::new(&job, self.quiet, pty.as_ref());

        let url = self.server.url();
        let delivery = Arc::new(ReportDelivery::new(
            self.wait.map(|seconds| Duration::from_secs(seconds.into())),
        ));
        let (reporter, location) = reporter(url, &job, &announcer, &delivery);
        let connects = location.is_ok();
        // A generated id is new, so the job has no earlier attempt.
        let attempt = self.attempt.or_else(|| next_attempt(url, self.job.as_ref()?, &delivery));
        let job_handle = described(reporter.job(job.as_str()), attempt, self.name, self.tags);
        let job_handle = as_child(job_handle, self.parent, self.weight);
        if connects {
            task.environment = environment(&job, attempt.or(self.job.is_none().then_some(1)));
        }
        announce(&announcer, location);

        let begun = Instant::now();
        let answering = connects.then(|| Answering {
            url: url.to_owned(),
            job: job.clone(),
            attempt,
            handle: job_handle.clone(),
            cancellation: Cancellation::default(),
            grace: Duration::from_secs(self.cancel_grace.into()),
            delivery: Arc::clone(&delivery),
            say: announcer.clone().into_line(),
        });
        let sink = ReportedJob::new(job_handle);
        let say = announcer.clone().into_line();
        let (output_log, log_sender) =
            (connects && !self.no_log).then(|| OutputLog::start(url, &job, say)).flatten().unzip();
        let log = CiLog::new(job.as_str(), &sink, announcer.logs);
        let mut targets = OutputTargets::new(announcer.screen.as_ref(), output_log.as_ref(), pty);
        targets.shows_progress |= announcer.logs && Terminal::is_dumb();
        let outcome = supervise(&task, targets, answering, &log).unwrap_or_else(|error| {
            // Without Milepost, the shell would print this.
            eprintln!("milepost: {error}");
            Outcome::Failed { exit_code: error.exit_code(), error: error.to_string() }
        });
        let took = begun.elapsed();
        let link = location::page_unless_redis(url, &job).filter(|_| connects);
        log.finish(&outcome, took, link.as_deref());
        delivery.ends();
        sink.end(&outcome);
        let delivered = delivery.close(reporter, |patience| {
            // The command is over: nobody needs what is left but the server.
            signals::exit_when_stopped(outcome.exit_code());
            announcer.line(&format!("waiting {} s for the server", patience.as_secs_f64()));
        });
        let reported = delivered == Delivered::Yes && connects;
        // The end does not wait for lines of the log.
        if let Some(sender) = log_sender {
            sender.finish(reported);
        }
        let location = if reported { location::of(url, &job) } else { "not reported".to_owned() };
        announcer.last_line(&format!("{job} {} · {location}", outcome.in_words(took)));
        if let Delivered::No(why) = delivered
            && connects
            && why.is_news()
            && !self.quiet
        {
            crate::exit::warn(format_args!("the end of {job} was not reported: {why}"));
        }
        ExitCode::Of(outcome.exit_code())
    }
}

/// Says where the job is reported, or why it is not.
fn announce(announcer: &Announcer, location: Result<String, InvalidUrl>) {
    match location {
        Ok(line) => announcer.line(&line),
        Err(error) => {
            let line = format!("nothing is reported: {error}");
            // Who sets a token counts on it.
            if matches!(error, InvalidUrl::Token { .. }) {
                announcer.mistake(&line);
            } else {
                announcer.line(&line);
            }
        }
    }
}

/// The reporter of the job, and a line that says where it reports, or why it does not.
fn reporter(
    url: &str,
    job: &JobId,
    announcer: &Announcer,
    delivery: &Arc<ReportDelivery>,
) -> (Reporter, Result<String, InvalidUrl>) {
    match connect(url, announcer, delivery) {
        Ok(reporter) => (reporter, Ok(location::line(url, job))),
        Err(error) => (Reporter::silent(), Err(error)),
    }
}

/// Runs the command to its end, and lets `answering` answer watchers' requests meanwhile.
fn supervise<F: Fn(&str) + Send + 'static>(
    task: &Task,
    targets: OutputTargets<'_>,
    answering: Option<Answering<F>>,
    sink: &CiLog<'_>,
) -> Result<Outcome, CannotStart> {
    let mut signals = Signals::catch().map_err(|error| CannotStart::new(&task.program, error))?;
    if let Some(mut answering) = answering {
        answering.cancellation = signals.cancellation();
        signals.answer_requests(move |target| answering.start(target));
    }
    task.supervise(targets, &mut signals, sink)
}

/// A reporter whose notices are printed, and passed to `delivery`.
fn connect(
    url: &str,
    announcer: &Announcer,
    delivery: &Arc<ReportDelivery>,
) -> Result<Reporter, InvalidUrl> {
    let (announcer, delivery) = (announcer.clone(), Arc::clone(delivery));
    let on_notice = move |notice: &Notice| {
        delivery.notice(notice);
        announcer.line(&notice.to_string());
    };
    Reporter::builder().on_notice(on_notice).connect(url)
}

/// The job, with the attributes from the command line.
fn described(job: Job, attempt: Option<u32>, name: Option<String>, tags: Vec<String>) -> Job {
    let mut job = job.cancellable();
    if let Some(attempt) = attempt {
        job = job.attempt(attempt);
    }
    if let Some(name) = name {
        job = job.name(name);
    }
    if tags.is_empty() { job } else { job.tags(tags) }
}

/// The job that this one is a part of. An empty id counts as absent: an empty variable must not keep a command from
/// running.
#[derive(Debug, Clone)]
struct Parent(Option<JobId>);

impl Parent {
    fn parse(id: &str) -> Result<Self, InvalidJobId> {
        if id.is_empty() { Ok(Self(None)) } else { JobId::parse(id).map(|id| Self(Some(id))) }
    }
}

/// A job may run a command of its own id, which is not a part of itself.
fn as_child(job: Job, parent: Option<Parent>, weight: Option<f64>) -> Job {
    let parent = parent.and_then(|Parent(id)| id).filter(|parent| job.id() != Some(parent));
    let Some(parent) = parent else { return job };
    let job = job.parent(parent.as_str());
    match weight {
        Some(weight) => job.weight(weight),
        None => job,
    }
}

fn weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight: &f64| *weight > 0.0 && weight.is_finite());
    weight.ok_or_else(|| "a number above 0 is expected".to_owned())
}

/// The command's name, as far as an id may have it, and 32 random bits.
fn default_id(program: &std::ffi::OsStr) -> JobId {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .take(64)
        .collect();
    let name = if name.is_empty() { "job" } else { &name };
    // Without randomness from the system the process id has to do.
    let random = getrandom::u32().unwrap_or_else(|_| std::process::id());
    #[expect(clippy::expect_used, reason = "made of allowed characters, and not too long")]
    JobId::parse(&format!("{name}-{random:08x}")).expect("a valid id")
}

/// The variables with the job for the command, so that `python -m milepost`, for example, reports the same one.
fn environment(job: &JobId, attempt: Option<u32>) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("MILEPOST_RUN", Some(job.to_string())),
        ("MILEPOST_JOB", Some(job.to_string())),
        ("MILEPOST_PARENT", Some(job.to_string())),
        ("MILEPOST_ATTEMPT", attempt.map(|attempt| attempt.to_string())),
    ]
}

/// The attempt after the latest one, if that has ended: a command that is run again is a new attempt.
fn next_attempt(url: &str, job: &JobId, delivery: &ReportDelivery) -> Option<u32> {
    let state = Client::with_timeout(url, LOOK_UP).ok()?.state(job).ok()?;
    delivery.answered();
    let state = state?;
    state.status().is_end().then(|| state.attempt().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_named_after_the_command() {
        let of = |program: &str| default_id(program.as_ref()).to_string();
        assert!(of("/usr/bin/ffmpeg").starts_with("ffmpeg-"));
        assert!(of("a b/c%d e").starts_with("cde-"));
        assert!(of("").starts_with("job-") && of("é").starts_with("job-"));
        assert_ne!(of("x"), of("x"));
        assert!(of(&"x".repeat(500)).len() <= JobId::MAX_LEN);
    }
}
