//! Runs `spec/fixtures/reporter.json`: what a worker calls and a server answers, and what is then sent when. The time is
//! passed in, so nothing waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use milepost_protocol::{Action, ProblemType};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::http::Reply;
use crate::owner::Handle;
use crate::{Artifact, Job, Reporter, Stage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    until: u64,
    calls: Vec<Map<String, Value>>,
    #[serde(default)]
    answers: VecDeque<Answer>,
    requests: Vec<Request>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    notices: usize,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    times: Option<usize>,
    status: Option<u16>,
    problem: Option<String>,
    retry_after: Option<u64>,
    body: Option<String>,
    #[serde(default)]
    lines: Vec<Option<String>>,
    requested: Option<Value>,
    /// The job whose worker is meant; each, if absent.
    of: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    at: [u64; 2],
    count: Option<usize>,
    updates: Option<Vec<Map<String, Value>>>,
}

/// What went out, and the clock.
struct Wire {
    now: Instant,
    answers: VecDeque<Answer>,
    sent: Vec<(Instant, Vec<Value>)>,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Wire>>);

impl Fake {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

impl Transport for Fake {
    fn send(&mut self, updates: &[Outgoing<'_>], _: Duration) -> Result<Vec<Outcome>, Failure> {
        let mut wire = self.wire();
        let now = wire.now;
        wire.sent.push((
            now,
            updates.iter().map(|update| serde_json::from_str(update.json).unwrap()).collect(),
        ));
        let answer = wire.answers.pop_front().unwrap_or_default();
        if answer.status == Some(0) {
            return Err(Failure::Lost { reason: "no answer".to_owned() });
        }
        let reply = answer.reply(updates);
        match updates {
            [update] => Ok(vec![reply.outcome(*update)?]),
            updates => reply.outcomes(updates),
        }
    }
}

impl Answer {
    fn accepted(&self, job: &str) -> Value {
        let mut accepted = json!({ "job_id": job, "position": "1-1" });
        let is_meant = self.of.as_ref().is_none_or(|of| of == job);
        if let Some(requested) = self.requested.as_ref().filter(|_| is_meant) {
            accepted["requested"] = requested.clone();
        }
        accepted
    }

    fn reply(&self, updates: &[Outgoing<'_>]) -> Reply {
        let problem = self.problem.as_deref().map(problem);
        let status = problem.as_ref().and_then(|problem| problem["status"].as_u64());
        let line = |n: usize, update: &Outgoing<'_>| match self.lines.get(n) {
            Some(Some(name)) => problem_line(name),
            _ => self.accepted(update.job.as_str()).to_string(),
        };
        let accepted = updates.iter().enumerate().map(|(n, update)| line(n, update));
        let body = match (&self.body, problem) {
            (Some(body), _) => body.clone(),
            (None, Some(problem)) => problem.to_string(),
            (None, None) => accepted.collect::<Vec<_>>().join("\n"),
        };
        Reply {
            status: self.status.or(status.and_then(|s| s.try_into().ok())).unwrap_or(200),
            retry_after: self.retry_after.map(Duration::from_secs),
            location: None,
            body: body.into_bytes(),
        }
    }
}

fn problem(name: &str) -> Value {
    let uri = format!("urn:milepost:problem:{name}");
    let known = ProblemType::from_uri(&uri).expect("a problem of the protocol");
    json!({ "type": uri, "title": known.title(), "status": known.status(), "detail": "because" })
}

fn problem_line(name: &str) -> String {
    problem(name).to_string()
}

/// `{"repeat": [text, times]}` stands for a long text, wherever it is.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.contains_key("repeat") => {
            let times = usize::try_from(members["repeat"][1].as_u64().unwrap()).unwrap();
            Value::String(members["repeat"][0].as_str().unwrap().repeat(times))
        }
        Value::Array(items) => Value::Array(items.iter().map(expanded).collect()),
        Value::Object(members) => Value::Object(
            members.iter().map(|(key, value)| (key.clone(), expanded(value))).collect(),
        ),
        other => other.clone(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A stage as a worker declares it.
fn stage(value: &Value) -> Stage {
    let Some(id) = value["id"].as_str() else { return text(value).into() };
    let mut stage = Stage::new(id);
    if let Some(label) = value["label"].as_str() {
        stage = stage.label(label);
    }
    if let Some(weight) = value["weight"].as_f64() {
        stage = stage.weight(weight);
    }
    if value["skipped"] == true { stage.skipped() } else { stage }
}

/// An artifact as a worker links it.
fn artifact(value: &Value) -> Artifact {
    let mut artifact = Artifact::new(text(&value["name"]), text(&value["url"]));
    if let Some(media_type) = value["media_type"].as_str() {
        artifact = artifact.media_type(media_type);
    }
    match value["size"].as_u64() {
        Some(size) => artifact.size(size),
        None => artifact,
    }
}

struct Run {
    start: Instant,
    fake: Fake,
    reporter: Reporter,
    sender: Box<Sender<Handle>>,
    jobs: HashMap<String, Job>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Run {
    fn new(answers: &VecDeque<Answer>) -> Self {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&notices);
        let reporter = Reporter::builder()
            .on_notice(move |notice| recorded.lock().unwrap().push(notice.clone()))
            .connect("http://127.0.0.1:1")
            .unwrap();
        let mut sender = reporter.owner.as_ref().unwrap().take_sender().unwrap();
        let start = Instant::now();
        let times =
            |answer: &Answer| std::iter::repeat_n(answer.clone(), answer.times.unwrap_or(1));
        let answers = answers.iter().flat_map(times).collect();
        let fake = Fake(Arc::new(Mutex::new(Wire { now: start, answers, sent: Vec::new() })));
        sender.transport = Box::new(fake.clone());
        let clock = fake.clone();
        sender.clock = Box::new(move || clock.wire().now);
        Self { start, fake, reporter, sender, jobs: HashMap::new(), notices }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Makes one call; for a flush, returns its deadline.
    fn call(&mut self, call: &Map<String, Value>) -> Option<Instant> {
        let at = call["at"].as_u64().unwrap();
        if let Some(timeout) = call.get("flush") {
            return Some(self.at(at + timeout.as_u64().unwrap()));
        }
        if let Some(jobs) = call.get("jobs") {
            for n in 0..jobs.as_u64().unwrap() {
                self.begin(&format!("job-{n}"), &call["begin"]);
            }
            return None;
        }
        let id = call["job"].as_str().unwrap();
        let (verb, value) = call.iter().find(|(key, _)| *key != "at" && *key != "job").unwrap();
        let value = expanded(value);
        if verb == "begin" {
            self.begin(id, &value);
            return None;
        }
        let job = &self.jobs[id];
        match verb.as_str() {
            "stage" => job.stage(value.as_str().unwrap()),
            "stages" => job.stages(value.as_array().unwrap().iter().map(stage)),
            "artifact" => job.artifact(artifact(&value)),
            "progress" => job.progress(value.as_f64().unwrap()),
            "message" => job.message(value.as_str().unwrap()),
            "advance" => job.advance(value.as_u64().unwrap()),
            "metadata" => {
                for (key, value) in value.as_object().unwrap() {
                    job.metadata(key, value);
                }
            }
            "complete" => job.clone().complete_with(&value),
            "fail" => job.clone().fail(value.as_str().unwrap()),
            "cancel" => job.clone().cancel(value.as_str().unwrap()),
            "cancel_requested" => assert_eq!(job.cancel_requested(), value.as_bool().unwrap()),
            "acknowledge" => job.acknowledge(Action::from_name(value.as_str().unwrap()).unwrap()),
            other => panic!("no such call: {other}"),
        }
        None
    }

    fn begin(&mut self, id: &str, options: &Value) {
        let mut job = self.reporter.job(id);
        for (key, value) in expanded(options).as_object().unwrap() {
            match key.as_str() {
                "total" => job.set_total(value.as_u64().unwrap()),
                "name" => job = job.name(value.as_str().unwrap()),
                "tags" => job = job.tags(value.as_array().unwrap().iter().map(text)),
                "unit" => job.unit(value.as_str().unwrap()),
                other => panic!("no such option: {other}"),
            }
        }
        self.jobs.insert(id.to_owned(), job);
    }

    fn run(&mut self, case: &Case) {
        let mut calls = case.calls.iter().peekable();
        loop {
            let now = self.fake.wire().now;
            let mut flush_by = None;
            while let Some(call) =
                calls.next_if(|call| self.at(call["at"].as_u64().unwrap()) <= now)
            {
                flush_by = self.call(call).or(flush_by);
            }
            let mut contents = self.sender.inbox.wait(Some(self.start));
            contents.flush_by = flush_by;
            let is_due = self.sender.schedule.wake_at().is_some_and(|at| at <= now);
            if is_due || !contents.is_empty() {
                self.sender.turn(contents);
            }
            let next_call = calls.peek().map(|call| self.at(call["at"].as_u64().unwrap()));
            let Some(next) = next_call.into_iter().chain(self.sender.schedule.wake_at()).min()
            else {
                return;
            };
            if next > self.at(case.until) {
                return;
            }
            self.fake.wire().now = now.max(next);
        }
    }
}

fn check(case: &Case, run: &Run) {
    let name = &case.name;
    let wire = run.fake.wire();
    let times: Vec<_> = wire.sent.iter().map(|(at, _)| at.duration_since(run.start)).collect();
    assert!(wire.sent.len() >= case.requests.len(), "{name}: sent at {times:?}");
    assert!(case.more || wire.sent.len() == case.requests.len(), "{name}: sent at {times:?}");
    for ((at, updates), expected) in wire.sent.iter().zip(&case.requests) {
        let ms = at.duration_since(run.start).as_millis();
        let [from, to] = expected.at.map(u128::from);
        assert!((from..=to).contains(&ms), "{name}: at {ms}, not {from}…{to}");
        let fields = expected.updates.iter().flatten();
        let count = expected.count.unwrap_or_else(|| fields.clone().count());
        assert_eq!(updates.len(), count, "{name}");
        for (update, expected) in updates.iter().zip(fields) {
            check_update(name, update, expected);
        }
    }
    let notices = run.notices.lock().unwrap();
    assert_eq!(notices.len(), case.notices, "{name}: {notices:?}");
}

/// Equal in each field that is named; `null` means absent, but for `progress`. What is lost is always named.
fn check_update(name: &str, update: &Value, expected: &Map<String, Value>) {
    for (field, value) in expected {
        if field == "absent" {
            let absent = |name: &Value| update.get(text(name)).is_none();
            assert!(value.as_array().unwrap().iter().all(absent), "{name}: {update}");
            continue;
        }
        let sent = if field == "progress" {
            &update[field]
        } else {
            update.get(field).unwrap_or(&Value::Null)
        };
        let value = expanded(value);
        let is_equal = match (sent.as_f64(), value.as_f64()) {
            (Some(sent), Some(value)) => (sent - value).abs() < 1e-9,
            _ => *sent == value,
        };
        assert!(is_equal, "{name}: {field} is {sent}, not {value}");
    }
    for field in ["result", "error", "truncated"] {
        let is_named = expected.get(field).is_some();
        assert!(is_named || update.get(field).is_none(), "{name}: {field} is {}", update[field]);
    }
}

#[test]
fn the_fixtures() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/fixtures/reporter.json");
    let document: Document = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!document.cases.is_empty());
    for case in &document.cases {
        let mut run = Run::new(&case.answers);
        run.run(case);
        check(case, &run);
    }
}
