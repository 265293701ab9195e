//! `milepost report`: one update, from a shell.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use milepost_protocol::{JobId, MAX_NAME_BYTES, MAX_TAGS, Status, Update};
use serde_json::{Map, Value};

use crate::client::{Client, RequestError, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, printed, warn};

/// Report how far a job is, and print its position.
///
/// If the report does not arrive, this prints a warning on stderr and still exits with 0, so that a script continues although
/// nobody can watch it. With --strict, it exits with 1 or 4.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job's id
    #[arg(value_parser = JobId::parse, add = complete::job_ids())]
    job: JobId,
    /// The progress: 0…1, or "unknown"
    #[arg(long, value_name = "P", value_parser = progress, allow_hyphen_values = true)]
    progress: Option<Value>,
    /// What the job is doing
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// A message for people
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// The status: queued, processing, completed, failed or cancelled [default: processing]
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// The result, as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    result: Option<Value>,
    /// Why the job failed
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Metadata: a value is JSON or, if it is not, text. May be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, Value)>,
    /// The kind of job, to find and group jobs by
    #[arg(long, value_name = "NAME", value_parser = keyword)]
    name: Option<String>,
    /// A word to find the job by. May be given several times, 16 at most. Replaces earlier tags
    #[arg(long = "tag", value_name = "TAG", value_parser = keyword)]
    tags: Vec<String>,
    /// The attempt, counted from 1 [default: the latest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// How many seconds the job is kept after this report
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=i64::from(milepost_protocol::MAX_TTL_SECONDS)))]
    ttl: Option<u32>,
    /// How long the report may take
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = timeout)]
    timeout: Duration,
    /// Exit with 1 if the report is rejected, and with 4 if it does not arrive
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        if let Err(error) = check_tags(&self.tags) {
            return complain(error, ExitCode::Usage);
        }
        let json = self.update();
        let update = match Update::parse(Some(&self.job), json.as_bytes()) {
            Ok(update) => update,
            Err(error) => return complain(error, ExitCode::Usage),
        };
        let client = Client::with_timeout(self.server.url(), self.timeout);
        let position = client.and_then(|client| match client.report(&update, &json) {
            Err(error) if error.is_too_large() => self.report_shortened(&client, error),
            answer => answer,
        });
        match position {
            Ok(position) => printed(writeln!(io::stdout(), "{position}")),
            Err(error) if self.strict || error.exit_code() == ExitCode::Usage => {
                complain(&error, error.exit_code())
            }
            Err(error) => {
                warn(format_args!("{} was not reported: {error}", self.job));
                ExitCode::Success
            }
        }
    }

    /// An end is never lost for what it carries: it is sent again without, and names what is missing.
    fn report_shortened(
        &self,
        client: &Client,
        too_large: RequestError,
    ) -> Result<String, RequestError> {
        if !self.status.is_some_and(Status::is_end) {
            return Err(too_large);
        }
        let mut update = self.fields();
        let mut truncated = Vec::new();
        for name in ["result", "metadata"] {
            if update.remove(name).is_some() {
                truncated.push(name);
            }
        }
        for name in ["error", "message"] {
            if let Some(Value::String(text)) = update.get_mut(name)
                && text.len() > MAX_SHORTENED
            {
                // The last lines say why.
                let mut start = text.len() - MAX_SHORTENED;
                while !text.is_char_boundary(start) {
                    start += 1;
                }
                text.drain(..start);
                truncated.push(name);
            }
        }
        update.insert("truncated".to_owned(), truncated.clone().into());
        let json = Value::Object(update).to_string();
        let Ok(update) = Update::parse(Some(&self.job), json.as_bytes()) else {
            return Err(too_large);
        };
        let position = client.report(&update, &json)?;
        let missing = truncated.join(", ");
        warn(format_args!("{} was reported without all of its {missing}: {too_large}", self.job));
        Ok(position)
    }

    fn update(&self) -> String {
        Value::Object(self.fields()).to_string()
    }

    fn fields(&self) -> Map<String, Value> {
        let mut update = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                update.insert(name.to_owned(), value);
            }
        };
        set("status", self.status.map(|s| s.as_str().into()));
        set("stage", self.stage.clone().map(Value::from));
        set("progress", self.progress.clone());
        set("message", self.message.clone().map(Value::from));
        let metadata = (!self.metadata.is_empty())
            .then(|| Value::Object(self.metadata.iter().cloned().collect()));
        set("metadata", metadata);
        set("result", self.result.clone());
        set("error", self.error.clone().map(Value::from));
        set("name", self.name.clone().map(Value::from));
        set("tags", (!self.tags.is_empty()).then(|| self.tags.clone().into()));
        set("attempt", self.attempt.map(Value::from));
        set("ttl", self.ttl.map(Value::from));
        update
    }
}

/// Bytes that are kept of a text that is too long.
const MAX_SHORTENED: usize = 4096;

/// More is no timeout.
const MAX_TIMEOUT_SECONDS: f64 = 3600.0;

fn timeout(text: &str) -> Result<Duration, BadValue> {
    let seconds = text.parse::<f64>().map_err(|_| BadValue::Timeout)?;
    let allowed = seconds > 0.0 && seconds <= MAX_TIMEOUT_SECONDS;
    allowed.then(|| Duration::from_secs_f64(seconds)).ok_or(BadValue::Timeout)
}

/// An argument that cannot be understood.
#[derive(Debug)]
enum BadValue {
    Progress,
    Status,
    Json(serde_json::Error),
    Pair,
    Timeout,
    Keyword,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Progress => f.write_str("it must be a number from 0 to 1, or \"unknown\""),
            Self::Status => {
                let names: Vec<_> = Status::ALL.iter().map(|s| s.as_str()).collect();
                write!(f, "it must be one of {}", names.join(", "))
            }
            Self::Json(error) => write!(f, "it is not JSON: {error}"),
            Self::Timeout => {
                write!(f, "it must be seconds, more than 0 and at most {MAX_TIMEOUT_SECONDS}")
            }
            Self::Keyword => write!(f, "it must have 1 to {MAX_NAME_BYTES} bytes"),
            Self::Pair => f.write_str("it must be KEY=VALUE"),
        }
    }
}

impl std::error::Error for BadValue {}

/// A name or a tag.
pub(crate) fn keyword(text: &str) -> Result<String, impl std::error::Error + use<>> {
    let allowed = (1..=MAX_NAME_BYTES).contains(&text.len());
    allowed.then(|| text.to_owned()).ok_or(BadValue::Keyword)
}

/// Whether so many tags are allowed.
///
/// # Errors
/// When they are not: why.
pub(crate) fn check_tags(tags: &[String]) -> Result<(), String> {
    let given = tags.len();
    if given > MAX_TAGS {
        return Err(format!("--tag is given {given} times, at most {MAX_TAGS} are allowed"));
    }
    Ok(())
}

fn progress(text: &str) -> Result<Value, BadValue> {
    if matches!(text, "unknown" | "null") {
        return Ok(Value::Null);
    }
    let number: f64 = text.parse().map_err(|_| BadValue::Progress)?;
    if (0.0..=1.0).contains(&number) { Ok(number.into()) } else { Err(BadValue::Progress) }
}

pub(crate) fn status(text: &str) -> Result<Status, impl std::error::Error + use<>> {
    Status::from_name(text).ok_or(BadValue::Status)
}

fn json(text: &str) -> Result<Value, BadValue> {
    serde_json::from_str(text).map_err(BadValue::Json)
}

fn pair(text: &str) -> Result<(String, Value), BadValue> {
    let (key, value) =
        text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or(BadValue::Pair)?;
    Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn update(line: &[&str]) -> Result<String, clap::Error> {
        Line::try_parse_from(["report", "a"].iter().chain(line)).map(|line| line.args.update())
    }

    #[test]
    fn only_what_is_given_is_said() {
        assert_eq!(update(&[]).unwrap(), "{}");
        let line = [
            "--progress",
            "0.4",
            "--stage",
            "s",
            "--metadata",
            "k=v",
            "--metadata",
            "n=[1]",
            "--status",
            "completed",
            "--result",
            "{\"a\":1}",
        ];
        let said: Value = serde_json::from_str(&update(&line).unwrap()).unwrap();
        let expected = serde_json::json!({"progress": 0.4, "stage": "s", "metadata": {"k": "v", "n": [1]}, "status": "completed", "result": {"a": 1}});
        assert_eq!(said, expected);
        assert_eq!(update(&["--progress", "unknown"]).unwrap(), r#"{"progress":null}"#);
    }

    #[test]
    fn bad_values_are_refused() {
        for line in [
            ["--progress", "40%"],
            ["--progress", "1.5"],
            ["--progress", "NaN"],
            ["--progress", "-0.1"],
            ["--timeout", "0"],
            ["--timeout", "soon"],
            ["--status", "ok"],
            ["--result", "{"],
            ["--metadata", "k"],
            ["--attempt", "0"],
        ] {
            assert!(update(&line).is_err(), "{line:?}");
        }
        let negative = update(&["--progress", "-0.1"]).unwrap_err().to_string();
        assert!(negative.contains("must be a number from 0 to 1"), "{negative}");
    }
}
