use proptest::prelude::*;

use super::*;

/// A session and the time in its world.
struct World {
    session: Session,
    now: Instant,
}

impl World {
    fn one(options: Options, since: Option<&str>) -> Self {
        let since = since.and_then(Position::parse);
        let now = Instant::now();
        Self { session: Session::new(Endpoint::One(job("a")), options, since, now), now }
    }

    fn many(options: Options, jobs: &[&str]) -> Self {
        let now = Instant::now();
        let mut session = Session::new(Endpoint::Many, options, None, now);
        for name in jobs {
            session.subscribe(job(name), None);
        }
        Self { session, now }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.on_deadline(self.now, 0.5);
    }

    /// Until the session's own next deadline.
    fn pass_to_deadline(&mut self) -> Duration {
        let deadline = self.session.deadline().expect("the session has stopped");
        let time = deadline.saturating_duration_since(self.now);
        self.pass(time);
        time
    }

    fn hear(&mut self, text: &str) -> Vec<Output> {
        self.session.on_text(text, self.now);
        self.outputs()
    }

    fn closed(&mut self, code: u16, reason: &str) -> Vec<Output> {
        self.session.on_close(Some(code), reason, self.now, 0.5);
        self.outputs()
    }

    /// Advances to the server's `connected`. Returns the requested path.
    fn connect(&mut self) -> String {
        self.pass_to_deadline();
        let outputs = self.outputs();
        let [Output::Connect(path)] = outputs.as_slice() else { panic!("{outputs:?}") };
        let path = path.clone();
        self.session.on_open();
        self.session.on_text(CONNECTED, self.now);
        path
    }
}

const CONNECTED: &str =
    r#"{"type":"connected","job_id":"a","message":"","timestamp":"","known":true}"#;
const PING: &str = r#"{"type":"ping","message":"keepalive","job_id":"a","timestamp":""}"#;

fn job(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn state(job: &str, status: &str, position: &str) -> String {
    format!(r#"{{"job_id":"{job}","status":"{status}","attempt":1,"position":"{position}"}}"#)
}

fn states(outputs: &[Output]) -> Vec<String> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Emit(Event::State(state)) => Some(state.position().to_string()),
            _ => None,
        })
        .collect()
}

fn connections(outputs: &[Output]) -> Vec<Connection> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Emit(Event::Connection(connection)) => Some(connection.clone()),
            _ => None,
        })
        .collect()
}

fn retry_in(outputs: &[Output]) -> Duration {
    match connections(outputs).as_slice() {
        [Connection::Lost { retry_in, .. }] => *retry_in,
        other => panic!("no loss: {other:?}"),
    }
}

fn sent(outputs: &[Output]) -> Vec<&str> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn it_connects_at_once_and_says_so_when_the_server_has_answered() {
    let mut world = World::one(Options::default(), Some("e-7"));
    assert_eq!(world.pass_to_deadline(), Duration::ZERO);
    assert_eq!(world.outputs(), [Output::Connect("/ws/jobs/a?since=e-7".into())]);
    world.session.on_open();
    assert_eq!(world.outputs(), []);
    assert_eq!(connections(&world.hear(CONNECTED)), [Connection::Connected]);
}

#[test]
fn an_unknown_job_is_yielded_and_stays_watched() {
    let mut world = World::one(Options::default(), None);
    world.pass_to_deadline();
    world.session.on_open();
    world.outputs();
    let outputs = world.hear(r#"{"type":"connected","job_id":"a","known":false}"#);
    assert!(outputs.contains(&Output::Emit(Event::Unknown(job("a")))));
    assert_eq!(states(&world.hear(&state("a", "queued", "e-1"))), ["e-1"]);
}

#[test]
fn it_resumes_at_the_last_state_seen_and_yields_none_twice() {
    let mut world = World::one(Options::default(), None);
    world.connect();
    world.hear(&state("a", "processing", "e-1"));
    world.hear(&state("a", "processing", "e-4"));
    world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5);
    assert_eq!(retry_in(&world.outputs()), Duration::from_millis(500));
    assert_eq!(world.connect(), "/ws/jobs/a?since=e-4");
    assert_eq!(states(&world.hear(&state("a", "processing", "e-4"))), [""; 0]);
    assert_eq!(states(&world.hear(&state("a", "processing", "e-3"))), [""; 0]);
    assert_eq!(states(&world.hear(&state("a", "processing", "e-5"))), ["e-5"]);
    assert_eq!(states(&world.hear(&state("a", "processing", "f-1"))), ["f-1"]);
}

#[test]
fn each_close_code_is_obeyed() {
    let seconds = |ms| Some(Duration::from_millis(ms));
    // Code, reason; the wait at a draw of 0.5, none if it does not reconnect.
    let cases = [
        (1000, "", None),
        (1002, "unmasked", None),
        (1007, "", None),
        (1009, "", None),
        (1011, "", seconds(3000)),
        (1012, r#"{"reason":"restart","retry_ms":1234}"#, seconds(1234)),
        (1013, r#"{"reason":"full","retry_ms":0}"#, seconds(0)),
        (1012, r#"{"reason":"restart","retry_ms":99999999999}"#, seconds(600_000)),
        (1012, r#"{"reason":"restart","retry_ms":-5}"#, seconds(500)),
        (1012, "restart", seconds(500)),
        (1006, "", seconds(500)),
        (1001, "going away", seconds(500)),
        (4000, "", seconds(500)),
        (4400, "bad", None),
        (4499, "", None),
        (4500, "", seconds(500)),
    ];
    for (code, reason, wait) in cases {
        let mut world = World::one(Options::default(), None);
        world.connect();
        world.outputs();
        let outputs = world.closed(code, reason);
        if let Some(wait) = wait {
            assert_eq!(retry_in(&outputs), wait, "{code} {reason}");
            assert_eq!(world.pass_to_deadline(), wait);
            assert!(matches!(world.outputs().as_slice(), [Output::Connect(_)]));
        } else {
            assert!(connections(&outputs)[0].is_final(), "{code} came back");
            assert!(world.session.is_stopped() && world.session.deadline().is_none());
        }
    }
}

#[test]
fn the_error_message_before_the_close_is_the_reason() {
    let mut world = World::one(Options::default(), None);
    world.pass_to_deadline();
    world.session.on_open();
    world.hear(r#"{"type":"error","message":"max_rate: 'x' is not a number","timestamp":""}"#);
    let reason = "max_rate: 'x' is not a number".to_owned();
    let refused = Connection::Rejected(Rejection::Closed { code: 4400, reason });
    world.outputs();
    assert_eq!(connections(&world.closed(4400, "bad-request")), [refused]);
}

#[test]
fn failures_wait_longer_until_a_connection_lasts() {
    let mut world = World::one(Options::default(), None);
    for expected in [500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
        world.pass_to_deadline();
        world.outputs();
        world.session.on_lost(ConnectionError::Unreachable("refused".into()), world.now, 0.5);
        assert_eq!(retry_in(&world.outputs()), Duration::from_millis(expected));
    }
    world.connect();
    world.outputs();
    world.pass(STABLE);
    world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5);
    assert_eq!(retry_in(&world.outputs()), Duration::from_millis(500));
    // One that is cut off at once does not.
    world.connect();
    world.outputs();
    world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5);
    assert_eq!(retry_in(&world.outputs()), Duration::from_secs(1));
}

#[test]
fn a_silent_connection_is_given_up_and_pings_keep_it() {
    let mut world = World::one(Options::default(), None);
    world.connect();
    world.outputs();
    for _ in 0..10 {
        world.pass(Duration::from_secs(14));
        assert_eq!(world.hear(PING), []);
    }
    world.pass(Duration::from_secs(14));
    world.session.on_activity(world.now);
    assert_eq!(world.pass_to_deadline(), Duration::from_secs(15));
    let outputs = world.outputs();
    assert_eq!(outputs[0], Output::Disconnect);
    let reason = ConnectionError::Timeout(Duration::from_secs(15));
    assert!(
        matches!(&connections(&outputs)[0], Connection::Lost { reason: r, .. } if *r == reason)
    );
}

#[test]
fn a_server_that_never_says_connected_times_out() {
    let mut world = World::one(Options::default(), None);
    world.pass_to_deadline();
    world.session.on_open();
    world.outputs();
    world.pass(Duration::from_secs(14));
    assert_eq!(world.hear("SSH-2.0-OpenSSH"), []);
    assert_eq!(world.pass_to_deadline(), Duration::from_secs(1));
    assert!(matches!(connections(&world.outputs()).as_slice(), [Connection::Lost { .. }]));
}

#[test]
fn garbage_changes_nothing() {
    let mut world = World::one(Options::default(), None);
    world.connect();
    world.outputs();
    for text in
        ["", "{", "[1]", "{\"type\":\"state\"}", r#"{"job_id":"b","status":"x"}"#, CONNECTED]
    {
        assert_eq!(world.hear(text), [], "{text:?}");
    }
    // Another job's state is ignored.
    assert_eq!(world.hear(&state("b", "completed", "e-9")), []);
    assert_eq!(states(&world.hear(&state("a", "processing", "e-1"))), ["e-1"]);
}

#[test]
fn an_http_status_is_final_at_first_and_if_it_would_recur() {
    let answer = |world: &mut World, status, after| {
        world.pass_to_deadline();
        world.outputs();
        world.session.on_http(status, "detail".into(), after, world.now, 0.5);
        world.outputs()
    };
    for status in [200, 301, 400, 401, 404, 426] {
        let mut world = World::one(Options::default(), None);
        let refused = Rejection::Http { status, detail: "detail".into() };
        assert_eq!(connections(&answer(&mut world, status, None)), [Connection::Rejected(refused)]);
    }
    for status in [408, 429, 500, 502, 503] {
        let mut world = World::one(Options::default(), None);
        assert_eq!(retry_in(&answer(&mut world, status, None)), Duration::from_millis(500));
    }
    let mut world = World::one(Options::default(), None);
    let after = Some(Duration::from_secs(7));
    assert_eq!(retry_in(&answer(&mut world, 503, after)), Duration::from_millis(7500));

    let mut world = World::one(Options::default(), None);
    world.connect();
    world.closed(1012, r#"{"reason":"restart","retry_ms":10}"#);
    assert_eq!(retry_in(&answer(&mut world, 404, None)), Duration::from_millis(500));
}

#[test]
fn without_close_at_end_it_stays_after_the_end() {
    let mut world = World::one(Options::default(), None);
    world.connect();
    assert_eq!(states(&world.hear(&state("a", "failed", "e-1"))), ["e-1"]);
    assert_eq!(states(&world.hear(&state("a", "processing", "e-2"))), ["e-2"]);
}

#[test]
fn with_close_at_end_a_connection_lost_after_the_end_is_no_loss() {
    let options = Options { close_at_end: true, ..Options::default() };
    for lose in [
        (|world: &mut World| world.session.on_close(Some(1000), "", world.now, 0.5))
            as fn(&mut World),
        |world| world.session.on_close(Some(1012), "", world.now, 0.5),
        |world| world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5),
        |world| assert_eq!(world.pass_to_deadline(), GRACE),
    ] {
        let mut world = World::one(options, None);
        assert_eq!(world.connect(), "/ws/jobs/a?close=end");
        world.outputs();
        assert_eq!(states(&world.hear(&state("a", "completed", "e-1"))), ["e-1"]);
        lose(&mut world);
        assert_eq!(connections(&world.outputs()), [Connection::Done]);
        assert!(world.session.is_stopped());
    }
}

#[test]
fn close_at_end_waits_for_a_later_attempt_on_its_way() {
    let options = Options { close_at_end: true, ..Options::default() };
    let mut world = World::one(options, Some("e-1"));
    world.connect();
    world.hear(&state("a", "failed", "e-2"));
    assert_eq!(states(&world.hear(&state("a", "processing", "e-3"))), ["e-3"]);
    world.outputs();
    world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5);
    assert!(!world.session.is_stopped());
}

#[test]
fn after_a_loss_each_job_resumes_at_its_own_position() {
    let mut world = World::many(Options::default(), &["a", "b"]);
    assert_eq!(world.connect(), "/ws");
    let outputs = world.outputs();
    let mut subscribed = sent(&outputs);
    subscribed.sort_unstable();
    assert_eq!(
        subscribed,
        [r#"{"type":"subscribe","job_id":"a"}"#, r#"{"type":"subscribe","job_id":"b"}"#]
    );
    world.hear(&state("b", "processing", "e-3"));
    world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5);
    world.outputs();
    world.session.subscribe(job("c"), Position::parse("f-1"));
    assert_eq!(world.outputs(), []);
    world.connect();
    let outputs = world.outputs();
    let mut subscribed = sent(&outputs);
    subscribed.sort_unstable();
    assert_eq!(
        subscribed,
        [
            r#"{"type":"subscribe","job_id":"a"}"#,
            r#"{"type":"subscribe","job_id":"b","since":"e-3"}"#,
            r#"{"type":"subscribe","job_id":"c","since":"f-1"}"#,
        ]
    );
}

#[test]
fn a_job_that_was_left_yields_nothing_more() {
    let mut world = World::many(Options::default(), &["a"]);
    world.connect();
    world.outputs();
    world.session.unsubscribe(&job("a"));
    assert_eq!(sent(&world.outputs()), [r#"{"type":"unsubscribe","job_id":"a"}"#]);
    assert_eq!(world.hear(&state("a", "processing", "e-1")), []);
    assert_eq!(world.hear(r#"{"type":"subscribed","job_id":"a","known":false}"#), []);
    world.session.subscribe(job("a"), None);
    assert_eq!(sent(&world.outputs()), [r#"{"type":"subscribe","job_id":"a"}"#]);
}

#[test]
fn a_job_that_cannot_be_served_now_is_subscribed_again() {
    let mut world = World::many(Options::default(), &["a", "b"]);
    world.connect();
    world.outputs();
    let text = r#"{"type":"error","problem":"broker-unavailable","message":"m","job_id":"a"}"#;
    assert_eq!(world.hear(text), []);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.outputs(), []);
    world.pass_to_deadline();
    let subscribe = r#"{"type":"subscribe","job_id":"a"}"#.to_owned();
    assert_eq!(world.outputs(), [Output::Send(subscribe)]);
    assert_eq!(world.hear(text), [], "and again");
    // A new connection subscribes to all of them, once.
    world.session.on_lost(ConnectionError::Broken("reset".into()), world.now, 0.5);
    world.outputs();
    world.connect();
    world.outputs();
    world.pass(Duration::from_secs(3));
    assert_eq!(world.outputs(), []);
}

#[test]
fn an_unreadable_job_stays_watched() {
    let text = r#"{"type":"error","problem":"unreadable-job","message":"m","job_id":"a"}"#;
    let unreadable = || Output::Emit(Event::Unreadable { job: job("a"), message: "m".into() });
    for mut world in [World::many(Options::default(), &["a"]), World::one(Options::default(), None)]
    {
        world.connect();
        world.outputs();
        assert_eq!(world.hear(text), [unreadable()]);
        world.pass(RESUBSCRIBE + Duration::from_secs(1));
        assert_eq!(world.outputs(), [], "the server keeps the subscription");
        assert_eq!(states(&world.hear(&state("a", "processing", "e-1"))), ["e-1"]);
    }
}

#[test]
fn a_forgotten_job_is_yielded_and_stays_watched() {
    let text = r#"{"type":"error","problem":"unknown-job","message":"m","job_id":"a"}"#;
    for mut world in [World::many(Options::default(), &["a"]), World::one(Options::default(), None)]
    {
        world.connect();
        world.outputs();
        assert_eq!(states(&world.hear(&state("a", "processing", "e-1"))), ["e-1"]);
        assert_eq!(world.hear(text), [Output::Emit(Event::Unknown(job("a")))]);
        assert_eq!(states(&world.hear(&state("a", "processing", "f-1"))), ["f-1"]);
    }
}

#[test]
fn a_refused_subscription_is_yielded_and_not_retried() {
    let mut world = World::many(Options::default(), &["a"]);
    world.connect();
    world.outputs();
    let text = r#"{"type":"error","problem":"too-many-subscriptions","message":"at most 0","job_id":"a","timestamp":""}"#;
    let refused = Event::JobRejected {
        job: job("a"),
        problem: "too-many-subscriptions".into(),
        message: "at most 0".into(),
    };
    assert_eq!(world.hear(text), [Output::Emit(refused)]);
    world.session.on_lost(ConnectionError::Broken("cut".into()), world.now, 0.5);
    world.outputs();
    world.connect();
    assert_eq!(sent(&world.outputs()), [""; 0]);
}

#[test]
fn close_at_end_leaves_many_jobs_one_by_one() {
    let options = Options { close_at_end: true, ..Options::default() };
    let mut world = World::many(options, &["a", "b"]);
    world.connect();
    world.outputs();
    let outputs = world.hear(&state("a", "failed", "e-1"));
    assert_eq!(states(&outputs), ["e-1"]);
    assert_eq!(sent(&outputs), [r#"{"type":"unsubscribe","job_id":"a"}"#]);
    let outputs = world.hear(&state("b", "completed", "e-1"));
    assert_eq!(states(&outputs), ["e-1"]);
    assert_eq!(connections(&outputs), [Connection::Done]);
    assert!(world.session.is_stopped());
}

/// What a world does to a session, in any order, whether it makes sense or not.
#[derive(Clone, Debug)]
enum Input {
    Open,
    Connected,
    State { epoch: u8, number: u8, end: bool },
    Text(String),
    Close(u16),
    Lost,
    Http(u16),
    Pass(u16),
    PassToDeadline,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let state = (1..4u8, 1..20u8, prop::bool::weighted(0.1))
        .prop_map(|(epoch, number, end)| Input::State { epoch, number, end });
    let input = prop_oneof![
        3 => Just(Input::Open),
        3 => Just(Input::Connected),
        12 => state,
        1 => any::<String>().prop_map(Input::Text),
        1 => prop_oneof![Just(1006), Just(1011), Just(1012), Just(1013), 3000..5000u16]
            .prop_map(Input::Close),
        1 => Just(Input::Lost),
        1 => prop_oneof![Just(429), Just(503), Just(404)].prop_map(Input::Http),
        2 => any::<u16>().prop_map(Input::Pass),
        6 => Just(Input::PassToDeadline),
    ];
    prop::collection::vec(input, 0..200)
}

proptest! {
    /// Whatever happens, in whatever order: positions grow within an epoch, each attempt to connect resumes at the last
    /// yielded state, at most one socket is open, and it either has a deadline or has stopped with one last word.
    #[test]
    fn no_order_of_events_breaks_a_session(
        inputs in inputs(), draws in prop::collection::vec(0.0..1.0f64, 8), close_at_end in any::<bool>()
    ) {
        let options = Options { close_at_end, ..Options::default() };
        let mut world = World::one(options, None);
        let mut draws = draws.iter().copied().cycle();
        let mut yielded = HashMap::new();
        let mut last = None;
        let mut open = false;
        let mut stopped = 0;
        for input in inputs {
            let (now, draw) = (world.now, draws.next().unwrap_or(0.0));
            let had_stopped = world.session.is_stopped();
            match input {
                Input::Open => world.session.on_open(),
                Input::Connected => world.session.on_text(CONNECTED, now),
                Input::State { epoch, number, end } => {
                    let status = if end { "cancelled" } else { "processing" };
                    let position = format!("{epoch:x}-{number}");
                    world.session.on_text(&state("a", status, &position), now);
                }
                Input::Text(text) => world.session.on_text(&text, now),
                Input::Close(code) => world.session.on_close(Some(code), "", now, draw),
                Input::Lost => world.session.on_lost(ConnectionError::Broken(String::new()), now, draw),
                Input::Http(status) => world.session.on_http(status, String::new(), None, now, draw),
                Input::Pass(ms) => world.pass(Duration::from_millis(ms.into())),
                Input::PassToDeadline if had_stopped => {}
                Input::PassToDeadline => { world.pass_to_deadline(); }
            }
            let outputs = world.outputs();
            prop_assert!(!had_stopped || outputs.is_empty(), "{:?} after the last word", outputs);
            for output in outputs {
                match output {
                    Output::Connect(path) => {
                        prop_assert!(!open, "a second socket");
                        open = true;
                        let since = path.split_once("since=").map(|(_, rest)| rest);
                        let since = since.map(|rest| rest.split('&').next().unwrap_or(rest).to_owned());
                        prop_assert_eq!(since, last.map(|position: Position| position.to_string()));
                    }
                    Output::Disconnect => {
                        prop_assert!(open, "no socket to drop");
                        open = false;
                    }
                    Output::Emit(Event::State(state)) => {
                        let position = state.position();
                        let before = yielded.insert(position.epoch, position.number);
                        prop_assert!(before.is_none_or(|before| before < position.number));
                        last = Some(position);
                    }
                    Output::Emit(Event::Connection(connection)) => {
                        if let Connection::Lost { retry_in, .. } = connection {
                            prop_assert!(retry_in <= Duration::from_secs(30));
                        }
                        stopped += u32::from(connection.is_final());
                    }
                    Output::Send(text) => prop_assert!(false, "{} is sent", text),
                    Output::Renew => prop_assert!(false, "a token is asked for"),
                    Output::Emit(_) => {}
                }
            }
            prop_assert_eq!(world.session.is_stopped(), stopped == 1);
            prop_assert_eq!(world.session.deadline().is_none(), stopped == 1);
            prop_assert!(stopped <= 1);
        }
    }
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let options = Options { renewable: true, ..Options::default() };
    let mut world = World::one(options, None);
    world.connect();
    world.outputs();
    assert_eq!(world.hear(r#"{"type":"token_expiring","in":9,"timestamp":""}"#), []);
    assert_eq!(world.pass_to_deadline(), Duration::from_secs(3));
    assert_eq!(world.outputs(), [Output::Renew]);
    world.session.on_token("new");
    assert_eq!(world.outputs(), [Output::Send(r#"{"type":"auth","token":"new"}"#.into())]);

    let mut fixed = World::one(Options::default(), None);
    fixed.connect();
    fixed.outputs();
    fixed.hear(r#"{"type":"token_expiring","in":9,"timestamp":""}"#);
    assert_eq!(fixed.pass_to_deadline(), Options::default().silence);
}

#[test]
fn after_4401_it_returns_once_with_another_token() {
    let options = Options { renewable: true, ..Options::default() };
    let mut world = World::one(options, None);
    world.connect();
    world.hear(&state("a", "processing", "e-7"));
    world.pass(Duration::from_secs(10));
    assert_eq!(retry_in(&world.closed(4401, "")), Duration::ZERO);
    world.pass_to_deadline();
    assert_eq!(world.outputs(), [Output::Connect("/ws/jobs/a?since=e-7".into())]);
    world.session.on_open();
    // A second refusal in a row is final; after the server has let it in, the next one is the first again.
    world.session.on_text(CONNECTED, world.now);
    world.outputs();
    assert_eq!(retry_in(&world.closed(4401, "")), Duration::from_secs(1));
    world.pass_to_deadline();
    world.session.on_open();
    world.outputs();
    let outputs = world.closed(4401, "");
    let [Connection::Rejected(Rejection::Closed { code: 4401, .. })] = connections(&outputs)[..]
    else {
        panic!("{outputs:?}")
    };

    let mut fixed = World::one(Options::default(), None);
    fixed.connect();
    fixed.outputs();
    assert!(matches!(connections(&fixed.closed(4401, ""))[..], [Connection::Rejected(_)]));
}
