use super::*;
use crate::snapshot::StateId;
use proptest::prelude::*;

const INTERVAL: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A worker's jobs, a clock and a schedule: what a thread does, without one.
struct Bench {
    schedule: Schedule,
    now: Instant,
    jobs: HashMap<Key, Snapshot>,
    /// What went out: when, whose, which state.
    sent: Vec<(Instant, Key, Snapshot)>,
    done: Vec<Key>,
    failures: usize,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        let pace = Pace { interval: INTERVAL, heartbeat: HEARTBEAT };
        Self {
            schedule: Schedule::new(pace, start, fastrand::Rng::with_seed(7)),
            now: start + Duration::from_secs(1),
            jobs: HashMap::new(),
            sent: Vec::new(),
            done: Vec::new(),
            failures: 0,
        }
    }

    fn with_job(key: Key) -> Self {
        let mut bench = Self::new();
        bench.begin(key, None);
        bench
    }

    fn begin(&mut self, key: Key, after: Option<Key>) {
        let state = StateId { version: 0, attempt: 0, count: None };
        self.jobs.insert(key, Snapshot { state, urgent: 0, ended: false });
        self.schedule.add(key, Lifetime::UntilEnd, after, self.now);
    }

    /// The counter moved, or a message was set: nobody is woken.
    fn change(&mut self, key: Key) {
        let job = self.jobs.get_mut(&key).unwrap();
        if !job.ended {
            job.state.version += 1;
        }
    }

    fn change_at_once(&mut self, key: Key) {
        self.change(key);
        let job = self.jobs.get_mut(&key).unwrap();
        job.urgent = job.state.version;
        self.schedule.wake(key, job.ended, self.now);
    }

    fn end(&mut self, key: Key) {
        self.change(key);
        let job = self.jobs.get_mut(&key).unwrap();
        job.ended = true;
        job.urgent = job.state.version;
        self.schedule.wake(key, true, self.now);
    }

    fn due(&mut self) -> Vec<Key> {
        let due = self.schedule.due(self.now, |key| self.jobs[&key]);
        self.done.extend(due.done.iter().map(|(key, _)| key));
        self.sent.extend(due.send.iter().map(|&key| (self.now, key, self.jobs[&key])));
        due.send
    }

    fn outcome(&mut self, outcome: &Outcome) -> Vec<JobNotice> {
        let due = self.due();
        if !due.is_empty() {
            self.schedule.answered();
        }
        due.iter().filter_map(|&key| self.schedule.settle(key, outcome.clone(), self.now)).collect()
    }

    /// Lets the time pass until `until`, with a server that answers as the test wants.
    fn run(&mut self, until: Instant, server_is_up: bool) {
        let mut passes = 0;
        while let Some(at) = self.schedule.wake_at().filter(|at| *at <= until) {
            passes += 1;
            assert!(passes < 100_000, "the thread would spin");
            self.now = self.now.max(at);
            if server_is_up {
                self.outcome(&Outcome::Accepted { requested: None });
            } else {
                let due = self.due();
                if !due.is_empty() {
                    self.schedule.fail(&due, None, self.now);
                    self.failures += 1;
                }
            }
            self.schedule.flush_over(self.now);
        }
        self.now = self.now.max(until);
    }

    fn run_for(&mut self, time: Duration) {
        self.run(self.now + time, true);
    }

    fn sends(&self) -> usize {
        self.sent.len()
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn an_idle_job_is_sent_once_then_only_heartbeats() {
    let mut bench = Bench::with_job(1);
    assert!(bench.due().is_empty());
    bench.run_for(HEARTBEAT * 3 + ms(100));
    assert_eq!(bench.sends(), 4);
    let gaps: Vec<_> = bench.sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(gaps, [HEARTBEAT; 3]);
}

#[test]
fn a_job_that_counts_all_the_time_is_sent_five_times_a_second() {
    let mut bench = Bench::with_job(1);
    for _ in 0..1_000 {
        bench.change(1);
        bench.run_for(ms(1));
    }
    assert!((5..=6).contains(&bench.sends()), "{}", bench.sends());
}

#[test]
fn a_stage_is_sent_at_once_and_one_that_flickers_every_20_ms() {
    let mut bench = Bench::with_job(1);
    bench.change_at_once(1);
    assert_eq!(bench.schedule.wake_at(), Some(bench.schedule.start));
    bench.run_for(ms(0));
    assert_eq!(bench.sends(), 1);
    for _ in 0..200 {
        bench.change_at_once(1);
        bench.run_for(ms(1));
    }
    assert!((9..=11).contains(&bench.sends()), "{}", bench.sends());
}

#[test]
fn the_end_waits_for_nothing_and_frees_its_place() {
    let mut bench = Bench::with_job(1);
    bench.run_for(ms(30));
    bench.change_at_once(1);
    bench.run_for(ms(0));
    bench.end(1);
    bench.run_for(ms(0));
    assert!(bench.sent.last().unwrap().2.ended);
    bench.run_for(ms(40));
    assert_eq!(bench.done, [1]);
    assert!(bench.schedule.deliveries.is_empty() && bench.schedule.checks.is_empty());
    assert_eq!(bench.schedule.wake_at(), None);
}

#[test]
fn many_jobs_go_together_ends_first() {
    let mut bench = Bench::new();
    for key in 1..=1_500 {
        bench.begin(key, None);
    }
    bench.now += ms(50);
    bench.end(1_500);
    let first = bench.due();
    assert_eq!((first.len(), first[0]), (Schedule::BATCH, 1_500));
    assert_eq!(bench.due().len(), 500);
}

#[test]
fn a_batch_too_large_is_halved_down_to_one_and_grows_again() {
    let mut bench = Bench::new();
    for key in 1..=8 {
        bench.begin(key, None);
    }
    bench.now += ms(50);
    for expected in [8, 4, 2, 1] {
        let due = bench.due();
        assert_eq!(due.len(), expected);
        bench.schedule.reduce(&due, bench.now);
    }
    assert_eq!(bench.outcome(&Outcome::Accepted { requested: None }), []);
    assert_eq!(bench.due().len(), 2);
}

#[test]
fn a_failure_holds_everything_and_is_notified_once() {
    let mut bench = Bench::with_job(1);
    bench.now += ms(50);
    let due = bench.due();
    assert!(bench.schedule.fail(&due, None, bench.now));
    bench.end(1);
    assert!(bench.schedule.wake_at().unwrap() <= bench.now + Duration::from_secs(1));
    bench.now = bench.schedule.wake_at().unwrap();
    let due = bench.due();
    assert_eq!(due, [1]);
    assert!(!bench.schedule.fail(&due, None, bench.now));
    bench.now = bench.schedule.wake_at().unwrap();
    bench.due();
    bench.schedule.answered();
    assert!(bench.schedule.has_recovered() && !bench.schedule.has_recovered());
}

#[test]
fn retry_after_is_honoured_with_some_spread() {
    let mut bench = Bench::with_job(1);
    bench.now += ms(50);
    let due = bench.due();
    bench.schedule.fail(&due, Some(Duration::from_secs(40)), bench.now);
    let hold = bench.schedule.wake_at().unwrap() - bench.now;
    assert!((40.0..=50.0).contains(&hold.as_secs_f64()), "{hold:?}");
    bench.now += Duration::from_secs(39);
    assert!(bench.due().is_empty());
    bench.schedule.fail(&[], Some(Duration::from_secs(1 << 40)), bench.now);
    assert!(bench.schedule.wake_at().unwrap() <= bench.now + Duration::from_secs(375));
}

#[test]
fn an_outage_backs_off_to_half_a_minute() {
    let mut bench = Bench::with_job(1);
    for _ in 0..600 {
        bench.change(1);
        bench.run(bench.now + Duration::from_secs(1), false);
    }
    // With windows of 1, 2, 4, 8, 16, 30, 30, … s: some 40 tries in ten minutes.
    assert!((20..80).contains(&bench.failures), "{}", bench.failures);
}

#[test]
fn a_refusal_is_said_once_and_the_job_tried_ever_more_rarely() {
    let mut bench = Bench::with_job(1);
    let refused = Outcome::Rejected { reason: "no".into() };
    let mut notices = Vec::new();
    for _ in 0..600 {
        bench.change(1);
        bench.now += INTERVAL;
        notices.extend(bench.outcome(&refused));
    }
    assert_eq!(notices, [JobNotice::Rejected { reason: "no".into() }]);
    assert!(bench.sends() < 40, "{}", bench.sends());
    // The end is tried at once, and dropped when it is rejected too.
    bench.end(1);
    bench.outcome(&refused);
    bench.run_for(INTERVAL);
    assert_eq!(bench.done, [1]);
}

#[test]
fn an_attempt_that_is_over_is_left_alone_until_another_is_named() {
    let mut bench = Bench::with_job(1);
    bench.now += ms(50);
    assert_eq!(bench.outcome(&Outcome::AttemptOver { reason: "ended".into() }).len(), 1);
    for _ in 0..200 {
        bench.change_at_once(1);
        bench.run_for(INTERVAL);
    }
    assert_eq!(bench.sends(), 1);
    bench.jobs.get_mut(&1).unwrap().state.attempt = 2;
    bench.change_at_once(1);
    bench.run_for(ms(0));
    assert_eq!(bench.sends(), 2);
}

#[test]
fn the_end_of_an_attempt_that_is_over_is_not_sent() {
    let mut bench = Bench::with_job(1);
    bench.now += ms(50);
    bench.outcome(&Outcome::AttemptOver { reason: "ended".into() });
    bench.end(1);
    bench.run_for(INTERVAL);
    assert_eq!((bench.sends(), bench.done.as_slice()), (1, [1].as_slice()));
}

#[test]
fn a_deferred_job_is_retried_and_delays_no_other() {
    let mut bench = Bench::with_job(1);
    bench.now += ms(50);
    let busy = Outcome::Busy {
        retry_after: Some(Duration::from_secs(5)),
        reason: "full".into(),
        full: true,
        cause: Cause::Busy,
    };
    let delayed = JobNotice::Delayed { reason: "full".into(), cause: Cause::Busy };
    assert_eq!(bench.outcome(&busy), [delayed]);
    bench.begin(2, None);
    bench.run_for(Duration::from_secs(4));
    assert_eq!(bench.sent.last().unwrap().1, 2);
    bench.run_for(Duration::from_secs(2));
    assert_eq!(bench.sent.iter().filter(|(_, key, _)| *key == 1).count(), 2);
}

#[test]
fn a_job_begun_again_waits_for_the_end_of_the_one_before() {
    let mut bench = Bench::with_job(1);
    bench.run_for(ms(50));
    bench.end(1);
    bench.begin(2, Some(1));
    bench.change_at_once(2);
    bench.run(bench.now + ms(500), false);
    bench.run_for(Duration::from_secs(30));
    let order: Vec<_> =
        bench.sent.iter().map(|(_, key, snapshot)| (*key, snapshot.ended)).collect();
    let last_end = order.iter().rposition(|sent| *sent == (1, true)).unwrap();
    let first_new = order.iter().position(|(key, _)| *key == 2).unwrap();
    assert!(last_end < first_new);
}

#[test]
fn a_flush_sends_everything_now_and_says_when_it_is_over() {
    let mut bench = Bench::with_job(1);
    bench.run_for(ms(50));
    bench.begin(2, None);
    bench.change(1);
    bench.schedule.flush(bench.now, bench.now + Duration::from_secs(2));
    assert_eq!(bench.schedule.flush_over(bench.now), None);
    let before = bench.sends();
    bench.outcome(&Outcome::Accepted { requested: None });
    assert_eq!(bench.sends(), before + 2);
    assert_eq!(bench.schedule.flush_over(bench.now), Some(0));
    assert_eq!(bench.schedule.flush_over(bench.now), None);
}

#[test]
fn a_flush_interrupts_the_backoff_and_ends_at_its_deadline() {
    let mut bench = Bench::with_job(1);
    bench.run(bench.now + Duration::from_secs(100), false);
    bench.end(1);
    let deadline = bench.now + Duration::from_secs(2);
    bench.schedule.flush(bench.now, deadline);
    let mut tries = 0;
    let left = loop {
        let due = bench.due();
        if !due.is_empty() {
            tries += 1;
            bench.schedule.fail(&due, None, bench.now);
        }
        if let Some(left) = bench.schedule.flush_over(bench.now) {
            break left;
        }
        bench.now = bench.now.max(bench.schedule.wake_at().unwrap());
    };
    assert_eq!(left, 1);
    assert!(bench.now <= deadline);
    assert!(tries >= 8, "{tries}");
}

#[test]
fn a_flush_does_not_wait_for_a_server_that_asks_for_longer() {
    let mut bench = Bench::with_job(1);
    bench.end(1);
    bench.schedule.flush(bench.now, bench.now + Duration::from_secs(2));
    let due = bench.due();
    bench.schedule.fail(&due, Some(Duration::from_secs(5)), bench.now);
    assert_eq!(bench.schedule.flush_over(bench.now), Some(1));
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Change(usize),
    ChangeAtOnce(usize),
    End(usize),
    Pass(u64),
    Up(bool),
    Flush(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Begin),
        6 => any::<usize>().prop_map(Step::Change),
        3 => any::<usize>().prop_map(Step::ChangeAtOnce),
        2 => any::<usize>().prop_map(Step::End),
        8 => (0u64..3_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Up),
        1 => (0u64..3_000).prop_map(Step::Flush),
    ]
}

proptest! {
    /// Whatever a worker and a server do: routine updates keep their distance, a job's states go out in
    /// order, and once the server is up, the last state of each job arrives in time and ended jobs are
    /// forgotten.
    #[test]
    fn nothing_is_sent_too_often_and_nothing_is_forgotten(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let mut up = true;
        let mut flushed = false;
        let mut keys: Vec<Key> = Vec::new();
        for step in steps {
            let pick = |n: usize| keys.get(n % keys.len().max(1)).copied();
            match step {
                Step::Begin => {
                    let key = keys.len() as Key + 1;
                    bench.begin(key, None);
                    keys.push(key);
                }
                Step::Change(n) => if let Some(key) = pick(n) { bench.change(key) },
                Step::ChangeAtOnce(n) => if let Some(key) = pick(n) { bench.change_at_once(key) },
                Step::End(n) => if let Some(key) = pick(n) && !bench.jobs[&key].ended { bench.end(key) },
                Step::Pass(millis) => bench.run(bench.now + ms(millis), up),
                Step::Up(is_up) => up = is_up,
                Step::Flush(millis) => {
                    flushed = true;
                    bench.schedule.flush(bench.now, bench.now + ms(millis));
                }
            }
        }
        let quiet_since = bench.now;
        bench.run_for(Duration::from_secs(31) + INTERVAL);

        for &key in &keys {
            let sent: Vec<_> = bench.sent.iter().filter(|(_, of, _)| *of == key).collect();
            for pair in sent.windows(2) {
                let [(at, _, one), (then, _, next)] = pair else { unreachable!() };
                prop_assert!(one.state.version <= next.state.version, "a step back");
                if !next.ended && !flushed && bench.failures == 0 {
                    let least = if one.urgent == next.urgent { INTERVAL } else { Schedule::GAP };
                    prop_assert!(*then - *at >= least, "{:?}", *then - *at);
                }
            }
            let (_, _, last) = sent.last().unwrap();
            prop_assert_eq!(last, &bench.jobs[&key], "the last state was forgotten");
            prop_assert_eq!(bench.jobs[&key].ended, bench.done.contains(&key));
        }
        if bench.failures == 0 {
            let late = bench.sent.iter().find(|(at, _, snapshot)| {
                *at > quiet_since + INTERVAL && *at < quiet_since + HEARTBEAT / 2 && snapshot.ended
            });
            prop_assert_eq!(late, None);
        }
        prop_assert_eq!(bench.schedule.deliveries.len(), bench.jobs.values().filter(|job| !job.ended).count());
        prop_assert_eq!(bench.schedule.checks.len(), bench.schedule.deliveries.len());
    }
}
