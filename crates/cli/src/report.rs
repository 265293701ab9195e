//! `milepost report`: one update, from a shell.

use std::io::{self, Write};
use std::time::Duration;

use milepost_protocol::{JobId, Status, Update};
use serde_json::{Map, Value};

use crate::argument_values::{check_tags, json, keyword, pair, progress, status, timeout};
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
    /// Exit with 1 if the report is rejected, and with 4 if it does not arrive or the server cannot accept it now
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
