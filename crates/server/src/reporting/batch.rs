//! The lines of a batch: updates of one job are reported one after the other, those of different jobs at the same time. Only a
//! parent's end waits for its children's lines before it: nothing is shown in its state afterwards.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use milepost_protocol::{JobId, Update};

/// The most lines that are being reported, or wait for an earlier line of their job. At the bound, the next line is not
/// parsed before one is done.
const WINDOW: usize = 512;

/// Reports updates and collects the outcomes, in the order of the lines.
pub(super) struct Batch<'a, R> {
    report: R,
    /// As JSON. Empty while a line has none yet.
    outcomes: Vec<String>,
    reporting: FuturesUnordered<Reporting<'a>>,
    /// The jobs of which an update is being reported, with those that wait for it.
    busy: HashMap<JobId, VecDeque<(usize, Update)>>,
    waiting: usize,
    /// The parents of jobs that were not reported at once.
    parents: HashSet<JobId>,
}

type Reporting<'a> = Pin<Box<dyn Future<Output = Done> + Send + 'a>>;

struct Done {
    line: usize,
    job: JobId,
    outcome: String,
}

impl<'a, F, R> Batch<'a, R>
where
    F: Future<Output = String> + Send + 'a,
    R: Fn(Update) -> F,
{
    /// `report` gives the outcome as JSON.
    pub(super) fn new(report: R) -> Self {
        let (reporting, busy) = (FuturesUnordered::new(), HashMap::new());
        let (outcomes, parents) = (Vec::new(), HashSet::new());
        Self { report, outcomes, reporting, busy, waiting: 0, parents }
    }

    /// Adds a line whose outcome is known without a report.
    pub(super) fn skip(&mut self, outcome: String) {
        self.outcomes.push(outcome);
    }

    /// Adds a line. Its update is reported once those of its job before it are, and, if it is an end, those of its children.
    pub(super) async fn report(&mut self, update: Update) {
        if update.status().is_end() && self.parents.contains(update.job()) {
            self.all_done().await;
        }
        while self.reporting.len() + self.waiting >= WINDOW {
            self.next_done().await;
        }
        let line = self.outcomes.len();
        self.outcomes.push(String::new());
        let parent = update.parent();
        if let Some(waiting) = self.busy.get_mut(update.job()) {
            waiting.push_back((line, update));
            self.waiting += 1;
            self.parents.extend(parent);
            return;
        }
        let job = update.job().clone();
        let mut reporting = self.begin(line, update);
        // The embedded broker usually answers at once.
        match poll_fn(|cx| Poll::Ready(reporting.as_mut().poll(cx))).await {
            Poll::Ready(done) => self.outcomes[done.line] = done.outcome,
            Poll::Pending => {
                self.busy.insert(job, VecDeque::new());
                self.reporting.push(reporting);
                self.parents.extend(parent);
            }
        }
    }

    /// Waits for all reports. The outcomes are in the order of the lines.
    pub(super) async fn finish(mut self) -> Vec<String> {
        self.all_done().await;
        self.outcomes
    }

    async fn all_done(&mut self) {
        while !self.reporting.is_empty() {
            self.next_done().await;
        }
        self.parents.clear();
    }

    fn begin(&self, line: usize, update: Update) -> Reporting<'a> {
        let job = update.job().clone();
        let report = (self.report)(update);
        Box::pin(async move { Done { line, job, outcome: report.await } })
    }

    async fn next_done(&mut self) {
        let Some(Done { line, job, outcome }) = self.reporting.next().await else { return };
        self.outcomes[line] = outcome;
        match self.busy.get_mut(&job).and_then(VecDeque::pop_front) {
            Some((line, update)) => {
                self.waiting -= 1;
                self.reporting.push(self.begin(line, update));
            }
            None => drop(self.busy.remove(&job)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Waker};

    use tokio::sync::oneshot;

    use super::*;

    /// A report that waits for its answer: its job and number, and how to answer it.
    type Pending = (String, Option<oneshot::Sender<()>>);

    /// A broker that answers when the test lets it. Holds the reports that it was given, in their order.
    #[derive(Clone, Default)]
    struct PendingReports(Arc<Mutex<Vec<Pending>>>);

    impl PendingReports {
        fn report(&self, update: &Update) -> impl Future<Output = String> + Send + use<> {
            let (sender, answered) = oneshot::channel();
            let name = format!("{}{}", update.job(), update.ttl().unwrap_or(0));
            self.0.lock().unwrap().push((name.clone(), Some(sender)));
            async move {
                answered.await.expect("the test answers");
                name
            }
        }

        fn names(&self) -> Vec<String> {
            self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
        }

        fn answer(&self, name: &str) {
            let mut reports = self.0.lock().unwrap();
            let report =
                reports.iter_mut().find(|(report, _)| report == name).expect("it was reported");
            report.1.take().expect("it is answered once").send(()).expect("it is waited for");
        }
    }

    fn update(job: &str, number: usize) -> Update {
        let json = format!(r#"{{"job_id":"{job}","ttl":{number}}}"#);
        Update::parse(None, json.as_bytes()).expect("an update")
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn jobs_overlap_and_the_updates_of_one_keep_their_order() {
        let reports = PendingReports::default();
        let mut run = pin!(async {
            let mut batch = Batch::new(|update| reports.report(&update));
            for (job, number) in [("a", 1), ("b", 1), ("a", 2), ("a", 3)] {
                batch.report(update(job, number)).await;
            }
            batch.skip("refused".to_owned());
            batch.report(update("c", 1)).await;
            batch.finish().await
        });
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(reports.names(), ["a1", "b1", "c1"], "a2 waits for a1");
        reports.answer("c1");
        reports.answer("a1");
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(reports.names()[3..], ["a2"]);
        reports.answer("a2");
        assert!(poll(run.as_mut()).is_pending());
        reports.answer("b1");
        reports.answer("a3");
        let Poll::Ready(outcomes) = poll(run) else { panic!("all are answered") };
        assert_eq!(outcomes, ["a1", "b1", "a2", "a3", "refused", "c1"]);
    }

    #[test]
    fn the_end_of_a_parent_waits_for_its_children() {
        let reports = PendingReports::default();
        let mut run = pin!(async {
            let mut batch = Batch::new(|update| reports.report(&update));
            for (job, fields) in [
                ("leaf", r#""parent_id":"part","status":"completed""#),
                ("other", r#""parent_id":"elsewhere""#),
                ("root", r#""progress":0.5"#),
                ("part", r#""parent_id":"root","status":"completed""#),
                ("root", r#""status":"completed""#),
            ] {
                let json = format!(r#"{{"job_id":"{job}",{fields}}}"#);
                batch.report(Update::parse(None, json.as_bytes()).expect("an update")).await;
            }
            batch.finish().await
        });
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(reports.names(), ["leaf0", "other0", "root0"]);
        for done in ["other0", "root0", "leaf0"] {
            reports.answer(done);
            assert!(poll(run.as_mut()).is_pending());
        }
        assert_eq!(reports.names()[3..], ["part0"], "the root waits for it");
        reports.answer("part0");
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(reports.names()[4..], ["root0"]);
    }

    #[test]
    fn no_more_lines_than_the_window_are_under_way() {
        let reports = PendingReports::default();
        let added = RefCell::new(0);
        let mut run = pin!(async {
            let mut batch = Batch::new(|update| reports.report(&update));
            for number in 0..2 * WINDOW {
                batch.report(update(&format!("job-{number}-"), 1)).await;
                *added.borrow_mut() += 1;
            }
            batch.finish().await.len()
        });
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!((reports.names().len(), *added.borrow()), (WINDOW, WINDOW));
        reports.answer("job-7-1");
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!((reports.names().len(), *added.borrow()), (WINDOW + 1, WINDOW + 1));
    }
}
