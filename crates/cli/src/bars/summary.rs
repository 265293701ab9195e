//! What a person is shown of a job, in words.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use milepost_protocol::{
    Action, Attribute, Children, Health, State, StateView, Status, parse_stages,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::JobTimes;
use super::child_counts::counts_in_words;

/// A job as it is shown: by the terminal that runs it, and by those that watch it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobSummary {
    pub(crate) status: Status,
    pub(crate) stage: String,
    /// 0…1; none if the total is not known.
    pub(crate) progress: Option<f64>,
    pub(crate) message: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) metadata: Map<String, Value>,
    /// What was requested of the worker and is not done yet, or that it is paused.
    pub(crate) request: Option<&'static str>,
    /// None while the job is well.
    pub(crate) health: Option<Health>,
    /// What `current`, `total` and `unit` of the state count, such as `400/1000 rows`.
    pub(crate) counts: Option<String>,
    /// How many children it has, if it has any.
    pub(crate) children: Option<Children>,
    /// Nothing moves: neither a rate nor a time left is shown.
    pub(crate) stands: bool,
    /// Whether the worker's own `time_left` is shown: not if the state estimates when the job completes.
    pub(crate) shows_time_left: bool,
    /// How fast it advances, if the state says so and its worker does not.
    pub(crate) estimated_rate: Option<String>,
    /// In words, how long it still takes, for a job of which there is no state.
    pub(crate) left: Option<String>,
}

impl JobSummary {
    /// Of a job that nothing is known of yet.
    pub(crate) fn new(status: Status) -> Self {
        Self {
            status,
            stage: String::new(),
            progress: None,
            message: None,
            error: None,
            metadata: Map::new(),
            request: None,
            health: None,
            counts: None,
            children: None,
            stands: false,
            shows_time_left: true,
            estimated_rate: None,
            left: None,
        }
    }

    pub(crate) fn of(state: &State) -> Self {
        let view = state.view();
        let health = state.health().filter(|health| *health != Health::Ok);
        let request = request(state);
        let times = JobTimes::of(state);
        Self {
            counts: counts(&view),
            health,
            stands: health.is_some() || request == Some(PAUSED),
            shows_time_left: times.eta.is_none(),
            estimated_rate: times.rate(),
            left: None,
            status: state.status(),
            stage: stage_label(state, &view.stage).unwrap_or_else(|| view.stage.into_owned()),
            progress: view.progress,
            children: view.children,
            message: view.message.map(Cow::into_owned),
            error: view.error.map(Cow::into_owned),
            metadata: view.metadata.map(|it| metadata(it.get())).unwrap_or_default(),
            request,
        }
    }

    /// ` 42 %`, or the word for an end or a wait; four characters at least.
    pub(crate) fn short(&self) -> String {
        match (self.status, self.progress) {
            (Status::Completed, _) => "done".to_owned(),
            (Status::Failed, _) => "failed".to_owned(),
            (Status::Cancelled, _) => "cancelled".to_owned(),
            (Status::Queued, _) => "queued".to_owned(),
            (Status::Processing, Some(progress)) => percent(progress),
            (Status::Processing, None) => "   …".to_owned(),
        }
    }

    /// The stage, unless it only repeats the status.
    pub(crate) fn own_stage(&self) -> Option<&str> {
        let stage = self.stage.as_str();
        (!matches!(stage, "" | "processing" | "queued" | "complete" | "error")).then_some(stage)
    }

    /// Everything else that is worth saying, in one line.
    pub(crate) fn details(&self) -> String {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        if !self.status.is_end() {
            parts.extend(self.health.map(|health| Cow::Borrowed(health.as_str())));
        }
        parts.extend(self.request.map(Cow::Borrowed));
        parts.extend(self.own_stage().map(sanitized));
        let words = match self.status {
            Status::Failed => self.error.as_deref().map(last_line).or(self.message.as_deref()),
            _ => self.message.as_deref(),
        };
        if let Some(words) = words.map(str::trim).filter(|w| !w.is_empty()) {
            parts.push(sanitized(words));
        }
        if !self.status.is_end() {
            if words.is_none() {
                let counts = self.counts.clone().or_else(|| self.reported_counts());
                parts.extend(counts.map(Cow::Owned));
            }
            parts.extend(self.children.as_ref().map(counts_in_words).map(Cow::Owned));
            parts.extend(self.rate().map(sanitized));
            parts.extend(self.left.clone().or_else(|| self.reported_left()).map(Cow::Owned));
        }
        parts.join(" · ")
    }

    fn moves(&self) -> bool {
        !self.stands && !self.status.is_end()
    }

    /// The same while its worker is silent.
    pub(crate) fn standing(self) -> Self {
        Self { stands: true, ..self }
    }

    /// How fast it advances: as its worker says, such as `12 MB/s`, or else by the state's estimate. None after the end, and while
    /// nothing moves.
    pub(crate) fn rate(&self) -> Option<&str> {
        self.reported_rate().or(self.estimated_rate.as_deref().filter(|_| self.moves()))
    }

    fn reported_rate(&self) -> Option<&str> {
        let rate = self.metadata.get(RATE).and_then(Value::as_str);
        rate.filter(|_| self.moves())
    }

    /// In words, how long its worker says that it still takes. None if that is not shown.
    pub(crate) fn reported_left(&self) -> Option<String> {
        let seconds = self.metadata.get(TIME_LEFT).and_then(Value::as_f64)?;
        let is_shown = seconds >= 1.0 && self.shows_time_left && self.moves();
        is_shown.then(|| format!("{} left", duration(seconds)))
    }

    /// Whether [`rate`](Self::rate) or [`reported_left`](Self::reported_left) is this value of the metadata, in words.
    pub(crate) fn is_in_words(&self, name: &str) -> bool {
        match name {
            RATE => self.reported_rate().is_some(),
            TIME_LEFT => self.reported_left().is_some(),
            _ => false,
        }
    }

    /// `1500/2000 frames`, of what workers and reporters count in their metadata.
    fn reported_counts(&self) -> Option<String> {
        let number =
            |names: &[&str]| names.iter().find_map(|name| self.metadata.get(*name)?.as_u64());
        let mut text = number(&["done", "current", "current_frame", "frame"])?.to_string();
        if let Some(total) = number(&["total", "total_frames"]) {
            let _ = write!(text, "/{total}");
        }
        if let Some(unit) = self.metadata.get("unit").and_then(Value::as_str) {
            let _ = write!(text, " {}", sanitized(unit));
        }
        Some(text)
    }
}

/// The values of a state's metadata. One that no 64-bit float holds, such as `1e400`, is shown as it is written.
fn metadata(json: &str) -> Map<String, Value> {
    let pairs: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let value = |raw: &str| serde_json::from_str(raw).unwrap_or_else(|_| Value::from(raw));
    pairs.into_iter().map(|(name, raw)| (name, value(raw.get()))).collect()
}

/// What workers call in their metadata how fast they are, as text, and how long they still take, in seconds.
const RATE: &str = "rate";
const TIME_LEFT: &str = "time_left";

/// What people call the stage, if the job declares it with a label.
fn stage_label(state: &State, stage: &str) -> Option<String> {
    let stages = parse_stages(state.attribute(Attribute::Stages)?)?;
    let declared = stages.into_iter().find(|declared| declared.id == stage)?;
    declared.label.map(Cow::into_owned)
}

/// `400/1000 rows`.
fn counts(view: &StateView<'_>) -> Option<String> {
    let mut text = view.current?.to_string();
    if let Some(total) = view.total {
        let _ = write!(text, "/{total}");
    }
    if let Some(unit) = &view.unit {
        let _ = write!(text, " {}", sanitized(unit));
    }
    Some(text)
}

/// What is shown of a job that its worker has paused on request.
pub(crate) const PAUSED: &str = "paused";

fn request(state: &State) -> Option<&'static str> {
    #[derive(Default, Deserialize)]
    struct Paused {
        #[serde(default)]
        paused: Value,
    }
    if state.status().is_end() {
        return None;
    }
    let paused = || {
        let fields: Paused = serde_json::from_str(state.json()).unwrap_or_default();
        fields.paused == Value::Bool(true)
    };
    match state.requested_action()? {
        Action::Cancel => Some("cancelling…"),
        Action::Pause if !paused() => Some("pausing…"),
        Action::Resume if paused() => Some("resuming…"),
        Action::Pause => Some(PAUSED),
        Action::Resume => None,
    }
}

/// The last line that is not blank: of a traceback, what went wrong.
pub(crate) fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("")
}

/// Whole percents, rounded down: 100 only when all is done.
pub(crate) fn percent(progress: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…100")]
    let percent = (progress.clamp(0.0, 1.0) * 100.0 + 1e-9) as u8;
    format!("{percent:>3} %")
}

/// `42 s`, `3:05 min`, `1:02:03 h`; whole seconds.
pub(crate) fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…1e9")]
    let seconds = seconds.clamp(0.0, 1e9) as u64;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes}:{rest:02} min"),
        _ => format!("{hours}:{minutes:02}:{rest:02} h"),
    }
}

/// Text from elsewhere, without what would steer the terminal.
pub(crate) fn sanitized(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) {
        let plain = console::strip_ansi_codes(text);
        Cow::Owned(plain.chars().map(|c| if steers(c) { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// JSON from elsewhere with the same value, in which escapes stand for what would steer the terminal.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(steers) {
        return Cow::Borrowed(json);
    }
    let escaped = json.chars().fold(String::new(), |mut text, c| {
        // These are all below U+FFFF. Between the values of a state there are none.
        if steers(c) {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    });
    Cow::Owned(escaped)
}

/// Control characters, and those that reorder what stands beside them.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(state: &str) -> JobSummary {
        let job =
            r#"{"job_id":"a","timestamp":"2024-01-01T00:00:00Z","attempt":1,"position":"1-1","#;
        JobSummary::of(&State::parse(&format!("{job}{state}}}")).unwrap())
    }

    #[test]
    fn a_number_beyond_a_float_hides_no_other_metadata() {
        let metadata = metadata(r#"{"loss":1e400,"epoch":3,"deep":[1e400]}"#);
        let expected = [("deep", json!("[1e400]")), ("epoch", json!(3)), ("loss", json!("1e400"))];
        assert_eq!(
            metadata,
            expected.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
        );
    }

    #[test]
    fn words_for_every_status() {
        let of = |state| {
            let summary = summary(state);
            format!("{}|{}", summary.short().trim_start(), summary.details())
        };
        assert_eq!(
            of(
                r#""status":"processing","stage":"rendering","progress":0.4299,"message":"Frame 3","metadata":{"time_left":75.5}"#
            ),
            "42 %|rendering · Frame 3 · 1:15 min left"
        );
        assert_eq!(
            of(
                r#""status":"processing","stage":"processing","progress":null,"metadata":{"current":7,"total":9,"unit":"files"}"#
            ),
            "…|7/9 files"
        );
        let counted = r#""status":"processing","stage":"copy","progress":0.4,"current":400,"total":1000,"unit":"rows""#;
        assert_eq!(of(counted), "40 %|copy · 400/1000 rows");
        let parent = r#""status":"processing","stage":"render","progress":0.7,"children":{"expected":12,"queued":0,"processing":2,"completed":6,"failed":1,"cancelled":0,"lost":0}"#;
        assert_eq!(of(parent), "70 %|render · 7 of 12 ended, 1 failed, 2 processing");
        let stages = r#""stages":["fetch",{"id":"encode","label":"Encode the film"}]"#;
        let in_stage = |stage: &str| format!(r#""status":"processing","stage":"{stage}",{stages}"#);
        assert_eq!(summary(&in_stage("encode")).details(), "Encode the film");
        assert_eq!(summary(&in_stage("fetch")).details(), "fetch");
        assert_eq!(of(r#""status":"queued","stage":"queued""#), "queued|");
        assert_eq!(
            of(
                r#""status":"completed","stage":"complete","progress":1.0,"message":"Job completed""#
            ),
            "done|Job completed"
        );
        assert_eq!(
            of(
                r#""status":"failed","stage":"rendering","error":"first\nlast words\n","message":"Error""#
            ),
            "failed|rendering · last words"
        );
    }

    #[test]
    fn what_is_requested_is_shown_until_it_is_done() {
        let of = |rest: &str| {
            let state = format!(r#""status":"processing","stage":"s","cancellable":true{rest}"#);
            summary(&state).details()
        };
        let requested = |action: &str| format!(r#","requested":{{"action":"{action}","at":"t"}}"#);
        assert_eq!(of(&requested("cancel")), "cancelling… · s");
        assert_eq!(of(&requested("pause")), "pausing… · s");
        assert_eq!(of(&format!(r#","paused":true{}"#, requested("pause"))), "paused · s");
        assert_eq!(of(&format!(r#","paused":true{}"#, requested("resume"))), "resuming… · s");
        assert_eq!(of(&requested("resume")), "s");
        let end = format!(r#""status":"cancelled","stage":"s"{}"#, requested("cancel"));
        assert_eq!(summary(&end).details(), "s");
    }

    #[test]
    fn health_is_shown_until_the_end_and_only_if_something_is_wrong() {
        let of = |status: &str, health: &str| {
            summary(&format!(r#""status":"{status}","stage":"s","health":"{health}""#)).details()
        };
        assert_eq!(of("processing", "ok"), "s");
        assert_eq!(of("processing", "stalled"), "stalled · s");
        assert_eq!(of("queued", "lost"), "lost · s");
    }

    #[test]
    fn an_estimate_replaces_the_time_left_that_a_worker_printed() {
        let state = |eta: &str| {
            let metadata = r#""metadata":{"time_left":75}"#;
            summary(&format!(r#""status":"processing","stage":"s",{metadata}{eta}"#)).details()
        };
        assert_eq!(state(""), "s · 1:15 min left");
        assert_eq!(state(r#","eta":"2024-01-01T00:04:00Z""#), "s");
    }

    #[test]
    fn the_rate_is_that_of_the_worker_or_that_of_the_estimate() {
        let of = |rest: &str| {
            let estimate = r#""eta":"2024-01-01T00:00:40Z","eta_basis":"rate","progressed_at":"2024-01-01T00:00:10Z""#;
            summary(&format!(r#""stage":"s","progress":0.25,{estimate},{rest}"#)).details()
        };
        assert_eq!(of(r#""status":"processing""#), "s · 2.5 %/s");
        let own = r#""metadata":{"rate":"12 MB/s"}"#;
        assert_eq!(of(&format!(r#""status":"processing",{own}"#)), "s · 12 MB/s");
        assert_eq!(of(&format!(r#""status":"cancelled",{own}"#)), "s");
    }

    #[test]
    fn no_time_left_is_shown_while_nothing_moves() {
        let row = |rest: &str| {
            let metadata = r#""metadata":{"time_left":75}"#;
            let json = format!(
                r#"{{"job_id":"a","status":"processing","stage":"s",{metadata}{rest},"attempt":1,"position":"1-1"}}"#
            );
            // As the table of `jobs` has it, whose health has a column of its own.
            JobSummary { health: None, ..JobSummary::of(&State::parse(&json).unwrap()) }.details()
        };
        assert_eq!(row(r#","health":"ok""#), "s · 1:15 min left");
        assert_eq!(row(r#","health":"lost""#), "s");
        let state =
            r#""status":"processing","stage":"s","metadata":{"time_left":75,"rate":"9 MB/s"}"#;
        assert_eq!(summary(state).details(), "s · 9 MB/s · 1:15 min left");
        assert_eq!(summary(state).standing().details(), "s");
        assert_eq!(row(r#","health":"stalled","eta":"2024-01-01T00:04:00Z""#), "s");
        let pause = r#","cancellable":true,"requested":{"action":"pause","at":"t"}"#;
        assert_eq!(row(pause), "pausing… · s · 1:15 min left");
        assert_eq!(row(&format!(r#"{pause},"paused":true"#)), "paused · s");
    }

    #[test]
    fn hundred_percent_is_all_of_it() {
        assert_eq!(percent(0.9999), " 99 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.29), " 29 %");
    }

    #[test]
    fn durations() {
        assert_eq!(
            [0.4, 42.0, 185.0, 3723.9].map(duration),
            ["0 s", "42 s", "3:05 min", "1:02:03 h"]
        );
        assert_eq!(duration(f64::INFINITY), duration(1e9));
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        let mut summary = JobSummary::new(Status::Processing);
        summary.message = Some("a\x1b[2Jb\nc\r\x07d".to_owned());
        summary.metadata.insert("time_left".to_owned(), json!(3));
        assert_eq!(summary.details(), "ab c  d · 3 s left");
    }
}
