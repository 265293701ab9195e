//! Runs `spec/fixtures`, which say what every implementation does. Their format is in
//! `spec/fixtures/README.md`; a key that is not in there fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{
    CloseCode, Epoch, Fold, Health, InvalidJobId, JobId, Origin, Position, Problem, ProblemType,
    Reconnect, Run, Runs, Standing, State, Timeline, Timestamp, Update, Usual, fold,
    fold_with_usual,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/fixtures"))
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(directory().join(name)).expect(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs every case, and fails with all that went wrong.
fn check<T>(cases: &[T], name: impl Fn(&T) -> String, run: impl Fn(&T) -> Result<(), String>) {
    assert!(!cases.is_empty(), "a list without a case");
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| run(case).err().map(|why| format!("{}: {why}", name(case))))
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[expect(clippy::needless_pass_by_value, reason = "what is compared is made on the spot")]
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{what}\n  is     {got:?}\n  not    {wanted:?}"))
}

#[test]
fn every_fixture_is_run() {
    let mut names: Vec<String> = fs::read_dir(directory())
        .expect("spec/fixtures")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let run = [
        "README.md",
        "children.json",
        "close-codes.json",
        // Run by the clients that show them.
        "durations.json",
        "eta.json",
        "fold.json",
        "job-id.json",
        "position.json",
        "problems.json",
        // Run by the clients that show it.
        "rate.json",
        // Run by the clients of Redis.
        "redis-arguments.json",
        // Run by the reporters.
        "reporter.json",
        "stage-weights.json",
        // Run by the clients that show it.
        "time-left.json",
        "timeline.json",
        "timestamp.json",
        "update.json",
    ];
    assert_eq!(names, run);
}

// Job ids

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobIds {
    accepted: Vec<String>,
    refused: Vec<RefusedJobId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedJobId {
    text: String,
    character: Option<char>,
    length: Option<usize>,
    #[serde(default)]
    dots: bool,
}

#[test]
fn job_ids() {
    let file: JobIds = read("job-id.json");
    check(&file.accepted, Clone::clone, |text| {
        let id = JobId::parse(text).map_err(|refused| refused.to_string())?;
        expect("the id", id.as_str(), text)
    });
    check(
        &file.refused,
        |case| format!("{:?}", case.text),
        |case| {
            let Err(refused) = JobId::parse(&case.text) else { return Err("is accepted".into()) };
            let wanted = match (case.character, case.length, case.dots) {
                (Some(c), None, false) => InvalidJobId::Character(c),
                (None, Some(0), false) => InvalidJobId::Empty,
                (None, Some(length), false) => InvalidJobId::TooLong(length),
                (None, None, true) => InvalidJobId::Dots,
                _ => return Err("one of character, length, dots".into()),
            };
            expect("the reason", refused, wanted)?;
            let detail = refused.to_string();
            let named = match refused {
                InvalidJobId::Character(c) => format!("{c:?}"),
                InvalidJobId::TooLong(length) => length.to_string(),
                InvalidJobId::Empty | InvalidJobId::Dots => String::new(),
            };
            expect("that the detail names it", detail.contains(&named), true)?;
            expect("the problem", Problem::from(refused).uri, ProblemType::InvalidJobId.uri())
        },
    );
}

// Updates and the fold

/// What a file's cases have in common: the job that the address names, the epoch, the server's clock.
struct Scene {
    job: JobId,
    epoch: Epoch,
    now: Timestamp,
}

impl Scene {
    fn new(job_id: &str, epoch: &str, now: &str) -> Self {
        Self { job: JobId::parse(job_id).expect(job_id), epoch: parse_epoch(epoch), now: at(now) }
    }
}

fn parse_epoch(hex: &str) -> Epoch {
    Epoch(u64::from_str_radix(hex, 16).expect(hex))
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect(text)
}

/// The bytes that a case reports.
fn bytes(
    json: Option<&RawValue>,
    text: Option<&String>,
    hex: Option<&String>,
) -> Result<Vec<u8>, String> {
    match (json, text, hex) {
        (Some(json), None, None) => Ok(json.get().into()),
        (None, Some(text), None) => Ok(text.as_bytes().into()),
        (None, None, Some(hex)) => (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|error| error.to_string()))
            .collect(),
        _ => Err("one of update, update_text, update_hex".into()),
    }
}

/// Whether a state is the one that a case wants, and as sound as every state is.
fn expect_state(
    state: &State,
    wanted: Option<&Value>,
    wanted_text: Option<&String>,
) -> Result<(), String> {
    match (wanted, wanted_text) {
        (Some(wanted), None) => {
            let got: Value = serde_json::from_str(state.json()).map_err(|e| e.to_string())?;
            expect("the state", &got, wanted)?;
        }
        (None, Some(text)) => expect("the state", state.json(), text)?,
        _ => return Err("one of state, state_text".into()),
    }
    expect("that it has a line break", state.json().contains(['\n', '\r']), false)?;
    expect("read again, it", State::parse(state.json()), Ok(state.clone()))?;
    let head: BTreeMap<String, &RawValue> =
        serde_json::from_str(state.json()).map_err(|error| error.to_string())?;
    let field = |name: &str| head.get(name).map(|value| value.get().to_owned());
    expect("job_id", field("job_id"), Some(format!("{:?}", state.job().as_str())))?;
    expect("status", field("status"), Some(format!("{:?}", state.status().as_str())))?;
    expect("attempt", field("attempt"), Some(state.attempt().to_string()))?;
    expect("position", field("position"), Some(format!("\"{}\"", state.position())))?;
    expect("ttl", field("ttl"), state.ttl().map(|ttl| ttl.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates {
    job_id: String,
    epoch: String,
    now: String,
    accepted: Vec<AcceptedUpdate>,
    refused: Vec<RefusedUpdate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedUpdate {
    name: String,
    #[serde(default = "yes")]
    address: bool,
    update: Option<Box<RawValue>>,
    update_text: Option<String>,
    update_hex: Option<String>,
    state: Option<Value>,
    state_text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedUpdate {
    name: String,
    #[serde(default = "yes")]
    address: bool,
    update: Option<Box<RawValue>>,
    update_text: Option<String>,
    update_hex: Option<String>,
    problem: String,
    pointer: Option<String>,
}

fn yes() -> bool {
    true
}

#[test]
fn updates() {
    let file: Updates = read("update.json");
    let scene = Scene::new(&file.job_id, &file.epoch, &file.now);
    check(
        &file.accepted,
        |case| case.name.clone(),
        |case| {
            let json =
                bytes(case.update.as_deref(), case.update_text.as_ref(), case.update_hex.as_ref())?;
            let update = Update::parse(case.address.then_some(&scene.job), &json)
                .map_err(|refused| refused.to_string())?;
            match fold(None, &update, Origin::Report, scene.epoch, scene.now) {
                Ok(Fold::New(state)) => {
                    expect_state(&state, case.state.as_ref(), case.state_text.as_ref())
                }
                other => Err(format!("{other:?}")),
            }
        },
    );
    check(
        &file.refused,
        |case| case.name.clone(),
        |case| {
            let json =
                bytes(case.update.as_deref(), case.update_text.as_ref(), case.update_hex.as_ref())?;
            let Err(refused) = Update::parse(case.address.then_some(&scene.job), &json) else {
                return Err("is accepted".into());
            };
            expect_problem(&Problem::from(refused), &case.problem, case.pointer.as_deref())
        },
    );
}

fn expect_problem(problem: &Problem, name: &str, pointer: Option<&str>) -> Result<(), String> {
    let kind = ProblemType::from_uri(&problem.uri).ok_or("its type is not known")?;
    expect("the problem", kind.name(), name)?;
    expect("the status", problem.status, kind.status())?;
    expect("the title", problem.title.as_str(), kind.title())?;
    expect("that the detail is empty", problem.detail.is_empty(), false)?;
    let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_deref()).collect();
    expect("the pointers", pointers, pointer.map(Some).into_iter().collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Folds {
    job_id: String,
    epoch: String,
    now: String,
    cases: Vec<FoldCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FoldCase {
    name: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    update: Option<Box<RawValue>>,
    update_text: Option<String>,
    #[serde(default)]
    origin: StepOrigin,
    epoch: Option<String>,
    now: Option<String>,
    state: Option<Value>,
    state_text: Option<String>,
    repeated: Option<String>,
    refused: Option<Refused>,
    #[serde(default)]
    ttl: Ttl,
}

/// A `null` that is there is another thing than nothing.
#[derive(Default)]
enum Ttl {
    #[default]
    Unchecked,
    Is(Option<u32>),
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Is)
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StepOrigin {
    #[default]
    Report,
    Publish,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    problem: String,
    attempt: u32,
    position: String,
}

#[test]
fn folds() {
    let file: Folds = read("fold.json");
    let scene = Scene::new(&file.job_id, &file.epoch, &file.now);
    check(
        &file.cases,
        |case| case.name.clone(),
        |case| {
            let mut state = None;
            for (at, step) in case.steps.iter().enumerate() {
                run_step(&scene, &mut state, step)
                    .map_err(|why| format!("step {}: {why}", at + 1))?;
            }
            Ok(())
        },
    );
}

fn run_step(scene: &Scene, state: &mut Option<State>, step: &Step) -> Result<(), String> {
    let json = bytes(step.update.as_deref(), step.update_text.as_ref(), None)?;
    let update = Update::parse(Some(&scene.job), &json).map_err(|refused| refused.to_string())?;
    let origin = match step.origin {
        StepOrigin::Report => Origin::Report,
        StepOrigin::Publish => Origin::Publish,
    };
    let epoch = step.epoch.as_deref().map_or(scene.epoch, parse_epoch);
    let now = step.now.as_deref().map_or(scene.now, at);
    match fold(state.as_ref(), &update, origin, epoch, now) {
        Ok(Fold::New(new)) => {
            expect_state(&new, step.state.as_ref(), step.state_text.as_ref())?;
            *state = Some(new);
        }
        Ok(Fold::Repeated) => {
            let position = state.as_ref().map(|state| state.position().to_string());
            expect("the repeated end's position", position, step.repeated.clone())?;
        }
        Err(refusal) => {
            let problem = Problem::from(refusal);
            let kind = ProblemType::from_uri(&problem.uri).ok_or("its type is not known")?;
            let got = Refused {
                problem: kind.name().to_owned(),
                attempt: problem.attempt.ok_or("no attempt")?,
                position: problem.position.ok_or("no position")?,
            };
            expect("the refusal", Some(&got), step.refused.as_ref())?;
        }
    }
    let outcomes = [
        step.state.is_some(),
        step.state_text.is_some(),
        step.repeated.is_some(),
        step.refused.is_some(),
    ];
    expect("how many outcomes it names", outcomes.iter().filter(|named| **named).count(), 1)?;
    match step.ttl {
        Ttl::Is(ttl) => expect("the ttl", state.as_ref().and_then(State::ttl), ttl),
        Ttl::Unchecked => Ok(()),
    }
}

// Timelines

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timelines {
    job_id: String,
    epoch: String,
    now: String,
    cases: Vec<TimelineCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimelineCase {
    name: String,
    steps: Vec<TimedUpdate>,
    samples: Value,
    stages: Value,
    attempts: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimedUpdate {
    at: f64,
    update: Value,
}

#[test]
fn timelines() {
    let file: Timelines = read("timeline.json");
    let scene = Scene::new(&file.job_id, &file.epoch, &file.now);
    check(
        &file.cases,
        |case| case.name.clone(),
        |case| {
            let (mut timeline, mut present) = (Timeline::default(), None::<State>);
            for step in &case.steps {
                let now = scene.now + Duration::from_secs_f64(step.at);
                let json = step.update.to_string();
                let update = Update::parse(Some(&scene.job), json.as_bytes())
                    .map_err(|refused| refused.to_string())?;
                let folded = fold(present.as_ref(), &update, Origin::Report, scene.epoch, now);
                let Ok(Fold::New(next)) = folded else { return Err(format!("{folded:?}")) };
                match &present {
                    None => timeline = Timeline::begun_with(&next),
                    Some(previous) if timeline.is_due(previous, &next, now) => {
                        timeline.add(previous, &next, now);
                    }
                    Some(_) => {}
                }
                expect(
                    "what is read again",
                    Timeline::decode(&timeline.encode(), &next).as_ref(),
                    Some(&timeline),
                )?;
                present = Some(next);
            }
            let present = present.ok_or("no steps")?;
            // Numbers are equal as numbers.
            let same = |json: Value| {
                json.to_string().replace(".0,", ",").replace(".0]", "]").replace(".0}", "}")
            };
            let json = |value: Result<Value, serde_json::Error>| value.map(same).ok();
            let samples = json(serde_json::to_value(timeline.samples()));
            expect("samples", samples, Some(same(case.samples.clone())))?;
            let stages = json(serde_json::to_value(timeline.stages(&present)));
            expect("stages", stages, Some(same(case.stages.clone())))?;
            let attempts = json(serde_json::to_value(timeline.attempts(&present)));
            expect("attempts", attempts, Some(same(case.attempts.clone())))
        },
    );
}

// Estimates

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Estimates {
    job_id: String,
    epoch: String,
    now: String,
    cases: Vec<EstimateCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EstimateCase {
    name: String,
    /// How long earlier attempts of the name `a` took, in seconds, oldest first.
    #[serde(default)]
    earlier: Vec<f64>,
    steps: Vec<EstimateStep>,
}

#[derive(Deserialize)]
struct EstimateStep {
    at: f64,
    update: Option<Box<RawValue>>,
    health: Option<String>,
    /// The rest: `eta`, `eta_high` and `eta_basis` as they are in the state.
    #[serde(flatten)]
    estimate: BTreeMap<String, Value>,
}

#[test]
fn estimates() {
    let file: Estimates = read("eta.json");
    let scene = Scene::new(&file.job_id, &file.epoch, &file.now);
    check(
        &file.cases,
        |case| case.name.clone(),
        |case| {
            let usual = usual(&case.earlier);
            let mut present = None::<State>;
            for step in &case.steps {
                let next = estimate_step(&scene, present.as_ref(), step, usual.as_ref())
                    .map_err(|why| format!("at {}: {why}", step.at))?;
                // As a store keeps it.
                let restored = State::parse(next.json()).map_err(|error| error.to_string())?;
                present = Some(match next.encoded_pace() {
                    Some(pace) => restored.with_encoded_pace(&pace),
                    None => restored,
                });
            }
            Ok(())
        },
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageWeights {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<StageWeightsCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageWeightsCase {
    name: String,
    /// How often the attempts come.
    #[serde(default = "once")]
    repeat: usize,
    attempts: Vec<Vec<(String, u32)>>,
    /// The attempts after those.
    #[serde(default)]
    then: Vec<Vec<(String, u32)>>,
    declared: Box<RawValue>,
    weights: Option<BTreeMap<String, f64>>,
}

fn once() -> usize {
    1
}

#[test]
fn stage_weights() {
    let file: StageWeights = read("stage-weights.json");
    check(
        &file.cases,
        |case| case.name.clone(),
        |case| {
            let mut runs = Runs::default();
            for stages in (0..case.repeat).flat_map(|_| &case.attempts).chain(&case.then) {
                let stages = stages.iter().map(|(id, millis)| (id.into(), *millis)).collect();
                let run = Run { name: "a".into(), tenths: 10, stages };
                runs.add(&run, Timestamp::from_micros(0));
            }
            let runs = Runs::decode(&runs.encode()).ok_or("are not decoded")?;
            let weights = runs.stage_weights(case.declared.get());
            let weights = weights.map(|json| serde_json::from_str(&json).expect("JSON"));
            expect("the weights", weights, case.weights.clone())
        },
    );
}

/// The usual durations after attempts that took so long, in seconds.
fn usual(earlier: &[f64]) -> Option<Arc<Usual>> {
    let mut runs = Runs::default();
    for seconds in earlier {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
        let tenths = (seconds * 10.0) as u32;
        runs.add(&Run { name: "a".into(), tenths, ..Run::default() }, Timestamp::from_micros(0));
    }
    assert_eq!(Runs::decode(&runs.encode()), Some(runs.clone()));
    (!earlier.is_empty()).then(|| runs.usual())
}

fn estimate_step(
    scene: &Scene,
    present: Option<&State>,
    step: &EstimateStep,
    usual: Option<&Arc<Usual>>,
) -> Result<State, String> {
    if let Some(health) = &step.health {
        let health = Health::from_name(health).ok_or("a health")?;
        let next = present.and_then(|present| present.with_health(health, scene.epoch));
        return next.ok_or_else(|| "no state with health".to_owned());
    }
    let json = step.update.as_ref().ok_or("an update or a health")?.get();
    let update =
        Update::parse(Some(&scene.job), json.as_bytes()).map_err(|refused| refused.to_string())?;
    let now = scene.now + Duration::from_secs_f64(step.at);
    let usual = usual.filter(|_| update.name().as_deref() == Some("a"));
    let folded = fold_with_usual(present, &update, Origin::Report, scene.epoch, now, usual, None);
    let Ok(Fold::New(next)) = folded else {
        return Err("no new state".to_owned());
    };
    let mut fields: BTreeMap<String, Value> =
        serde_json::from_str(next.json()).map_err(|error| error.to_string())?;
    fields.retain(|name, _| name.starts_with("eta"));
    expect("the estimate", &fields, &step.estimate)?;
    Ok(next)
}

// Positions

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Positions {
    accepted: Vec<ParsedPosition>,
    refused: Vec<String>,
    standings: Vec<StandingCase>,
    newer: Vec<NewerCase>,
    answers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedPosition {
    text: String,
    epoch: String,
    number: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StandingCase {
    since: String,
    present: String,
    is: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewerCase {
    seen: String,
    #[serde(default)]
    left: Option<String>,
    state: String,
    is_newer: bool,
    /// Of a newer state.
    #[serde(default)]
    has_gap: Option<bool>,
}

fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Behind => "behind",
        Standing::Current => "current",
        Standing::Ahead => "ahead",
        Standing::Foreign => "foreign",
    }
}

#[test]
fn positions() {
    let file: Positions = read("position.json");
    check(
        &file.accepted,
        |case| case.text.clone(),
        |case| {
            let position = Position::parse(&case.text).ok_or("is none")?;
            expect("the epoch", position.epoch, parse_epoch(&case.epoch))?;
            expect("the number", position.number.to_string(), case.number.clone())?;
            expect("written", position.to_string(), case.text.clone())
        },
    );
    check(&file.refused, Clone::clone, |text| expect("read, it", Position::parse(text), None));
    check(
        &file.standings,
        |case| format!("{} at {}", case.since, case.present),
        |case| {
            let present = Position::parse(&case.present).ok_or("present is no position")?;
            let since = Position::parse(&case.since);
            let standing = since.map_or(Standing::Foreign, |since| present.standing_of(since));
            expect("it", standing_name(standing), case.is.as_str())
        },
    );
    check(
        &file.newer,
        |case| format!("{} after {}", case.state, case.seen),
        |case| {
            let seen = Position::parse(&case.seen).ok_or("seen is no position")?;
            let state = Position::parse(&case.state).ok_or("state is no position")?;
            let left = case.left.as_deref().map(parse_epoch);
            expect("whether it is newer", state.is_newer_than(seen, left), case.is_newer)?;
            let gap = case.is_newer.then(|| state.has_gap_after(Some(seen)));
            expect("whether there is a gap", gap, case.has_gap)
        },
    );
    let named: Vec<&str> = file.answers.keys().map(String::as_str).collect();
    assert_eq!(named, ["ahead", "behind", "current", "foreign"]);
}

// Close codes

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseCodes {
    codes: Vec<KnownCode>,
    others: Vec<OtherCode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownCode {
    code: u16,
    name: String,
    reconnect: String,
    min_ms: Option<u64>,
    max_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherCode {
    code: u16,
    reconnect: String,
}

fn reconnect(name: &str, min_ms: Option<u64>, max_ms: Option<u64>) -> Result<Reconnect, String> {
    match (name, min_ms, max_ms) {
        ("no", None, None) => Ok(Reconnect::No),
        ("as-requested", None, None) => Ok(Reconnect::AsRequested),
        ("backoff", None, None) => Ok(Reconnect::Backoff),
        ("after", Some(min), Some(max)) => Ok(Reconnect::After {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        }),
        _ => Err(format!("{name:?} is no way to come back")),
    }
}

#[test]
fn close_codes() {
    let file: CloseCodes = read("close-codes.json");
    check(
        &file.codes,
        |case| case.name.clone(),
        |case| {
            let known = CloseCode::ALL.into_iter().find(|known| known.name() == case.name);
            expect("the code", known.map(CloseCode::code), Some(case.code))?;
            let wanted = reconnect(&case.reconnect, case.min_ms, case.max_ms)?;
            expect("the way back", Reconnect::for_code(case.code), wanted)
        },
    );
    assert_eq!(file.codes.len(), CloseCode::ALL.len(), "each code once");
    check(
        &file.others,
        |case| case.code.to_string(),
        |case| {
            let wanted = reconnect(&case.reconnect, None, None)?;
            expect("the way back", Reconnect::for_code(case.code), wanted)
        },
    );
}

// Problems

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemFile {
    problems: Vec<ProblemRow>,
    unknown: Vec<String>,
    documents: Vec<Document>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemRow {
    name: String,
    r#type: String,
    status: u16,
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    document: Value,
}

#[test]
fn problems() {
    let file: ProblemFile = read("problems.json");
    check(
        &file.problems,
        |case| case.name.clone(),
        |case| {
            let kind = ProblemType::from_uri(&case.r#type).ok_or("is not known")?;
            expect("the name", kind.name(), case.name.as_str())?;
            expect("the type", kind.uri(), case.r#type.clone())?;
            expect("the status", kind.status(), case.status)?;
            expect("the title", kind.title(), case.title.as_str())
        },
    );
    assert_eq!(file.problems.len(), ProblemType::ALL.len(), "each problem once");
    check(&file.unknown, Clone::clone, |uri| expect("it", ProblemType::from_uri(uri), None));
    check(
        &file.documents,
        |case| case.name.clone(),
        |case| {
            let problem: Problem =
                serde_json::from_value(case.document.clone()).map_err(|error| error.to_string())?;
            let again = serde_json::to_value(&problem).map_err(|error| error.to_string())?;
            expect("written again, it", &again, &case.document)
        },
    );
}

// Timestamps

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timestamps {
    read: Vec<Moment>,
    unreadable: Vec<String>,
    write: Vec<Moment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moment {
    text: String,
    micros: i64,
}

#[test]
fn timestamps() {
    let file: Timestamps = read("timestamp.json");
    check(
        &file.read,
        |case| case.text.clone(),
        |case| {
            let read = Timestamp::parse(&case.text).map(Timestamp::as_micros);
            expect("it", read, Some(case.micros))
        },
    );
    check(&file.unreadable, Clone::clone, |text| expect("it", Timestamp::parse(text), None));
    check(
        &file.write,
        |case| case.text.clone(),
        |case| {
            let written = Timestamp::from_micros(case.micros);
            expect("it", written.to_string(), case.text.clone())?;
            expect("read again, it", Timestamp::parse(&case.text), Some(written))
        },
    );
}
