//! Pages of the known jobs.

use milepost_broker::{Jobs, JobsQuery, Keyword};
use milepost_protocol::Status;

use crate::harness::{Harness, Settings};

fn query(it: &Harness, limit: usize) -> JobsQuery {
    JobsQuery { prefix: it.prefix().to_owned(), limit, ..JobsQuery::default() }
}

async fn page(it: &Harness, query: &JobsQuery) -> Jobs {
    it.broker().jobs(query).await.expect("the backend answers")
}

/// The jobs' ids without the prefix of the case.
fn names(it: &Harness, jobs: &Jobs) -> Vec<String> {
    let name = |id: &str| id.strip_prefix(it.prefix()).expect("only what was asked for").to_owned();
    jobs.states.iter().map(|state| name(state.job().as_str())).collect()
}

/// All pages, one after the other.
async fn walk(it: &Harness, mut query: JobsQuery) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let jobs = page(it, &query).await;
        pages.push(names(it, &jobs));
        let Some(next) = jobs.next else { return pages };
        query.after = Some(next);
    }
}

pub async fn the_most_recently_begun_come_first(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    assert_eq!(names(&it, &page(&it, &query(&it, 10)).await), [""; 0]);
    for name in ["a", "b", "c"] {
        it.report(&it.job(name), "{}").await;
    }
    // Neither an update nor an end changes a job's place.
    it.report(&it.job("a"), "{}").await;
    let end = it.report(&it.job("b"), r#"{"status":"completed"}"#).await;
    let jobs = page(&it, &query(&it, 10)).await;
    assert_eq!(names(&it, &jobs), ["c", "b", "a"]);
    assert_eq!(jobs.states[1], end);
    assert!(jobs.total >= 3);
    assert_eq!(jobs.next, None);
    // A job that was forgotten begins anew.
    it.broker().forget(&it.job("a")).await.expect("the backend answers");
    assert_eq!(names(&it, &page(&it, &query(&it, 10)).await), ["c", "b"]);
    it.report(&it.job("a"), "{}").await;
    assert_eq!(names(&it, &page(&it, &query(&it, 10)).await), ["a", "c", "b"]);
    it.close().await;
}

pub async fn pages_hold_every_job_once(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let mut expected: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    for name in &expected {
        it.report(&it.job(name), "{}").await;
    }
    expected.reverse();
    for limit in [1, 2, 5, 6, 11, 12, 13, 1000] {
        let pages = walk(&it, query(&it, limit)).await;
        assert_eq!(pages.concat(), expected, "in pages of {limit}");
        assert_eq!(pages.len(), 12_usize.div_ceil(limit), "no empty page at the end");
    }
    it.close().await;
}

pub async fn pages_stay_right_while_jobs_begin(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    for name in ["a", "b", "c", "d"] {
        it.report(&it.job(name), "{}").await;
    }
    let first = page(&it, &query(&it, 2)).await;
    assert_eq!(names(&it, &first), ["d", "c"]);
    it.report(&it.job("e"), "{}").await;
    it.broker().forget(&it.job("c")).await.expect("the backend answers");
    let second = page(&it, &JobsQuery { after: first.next, ..query(&it, 2) }).await;
    assert_eq!(names(&it, &second), ["b", "a"]);
    assert_eq!(second.next, None);
    it.close().await;
}

pub async fn statuses_and_prefix_select(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    for (name, status) in [
        ("x.1", "queued"),
        ("x.2", "processing"),
        ("y.1", "completed"),
        ("x.3", "failed"),
        ("y.2", "cancelled"),
        ("x.4", "completed"),
    ] {
        it.report(&it.job(name), &format!(r#"{{"status":"{status}"}}"#)).await;
    }
    let with = |statuses: &[Status], prefix: &str| JobsQuery {
        statuses: statuses.to_vec(),
        prefix: format!("{}{prefix}", it.prefix()),
        ..query(&it, 10)
    };
    let of = async |statuses: &[Status], prefix: &str| {
        names(&it, &page(&it, &with(statuses, prefix)).await)
    };
    assert_eq!(of(&[Status::Completed], "").await, ["x.4", "y.1"]);
    assert_eq!(of(&[Status::Queued, Status::Cancelled], "").await, ["y.2", "x.1"]);
    assert_eq!(of(&[], "x.").await, ["x.4", "x.3", "x.2", "x.1"]);
    assert_eq!(of(&[Status::Completed], "y.").await, ["y.1"]);
    assert_eq!(of(&[Status::Queued], "y.").await, [""; 0]);
    // Pages are filled with jobs that match.
    let pages = walk(&it, JobsQuery { limit: 1, ..with(&[Status::Completed], "") }).await;
    assert_eq!(pages, [["x.4"], ["y.1"]]);
    it.close().await;
}

pub async fn jobs_are_found_by_their_attributes(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let by = async |keywords: &[Keyword], text: &str| {
        let (keywords, text) = (keywords.to_vec(), text.to_owned());
        names(&it, &page(&it, &JobsQuery { keywords, text, ..query(&it, 10) }).await)
    };
    let name = |text: &str| Keyword::Name(text.into());
    let tag = |text: &str| Keyword::Tag(text.into());
    it.report(&it.job("a"), r#"{"name":"Export","tags":["x","y"]}"#).await;
    it.report(&it.job("b"), r#"{"name":"Export","tags":["y"],"parent_id":"p"}"#).await;
    it.report(&it.job("c"), r#"{"name":{"of":"the worker"},"tags":"x"}"#).await;
    it.report(&it.job("d"), r#"{"name":"import"}"#).await;
    assert_eq!(by(&[name("Export")], "").await, ["b", "a"]);
    assert_eq!(by(&[name("Export"), tag("x")], "").await, ["a"]);
    assert_eq!(by(&[tag("y"), tag("x")], "").await, ["a"]);
    assert_eq!(by(&[Keyword::Parent("p".into())], "").await, ["b"]);
    assert_eq!(by(&[name("nothing")], "").await, [""; 0]);
    assert_eq!(by(&[], "PORT").await, ["d", "b", "a"]);
    assert_eq!(by(&[tag("y")], "exp").await, ["b", "a"]);
    // The attributes are carried over, changed, and dropped with the attempt or the job.
    it.report(&it.job("a"), r#"{"progress":0.5}"#).await;
    it.report(&it.job("b"), r#"{"tags":["z"]}"#).await;
    assert_eq!(by(&[tag("y")], "").await, ["a"]);
    assert_eq!(by(&[tag("z")], "").await, ["b"]);
    it.report(&it.job("b"), r#"{"attempt":2}"#).await;
    it.broker().forget(&it.job("a")).await.expect("the backend answers");
    assert_eq!(by(&[tag("z")], "").await, [""; 0]);
    assert_eq!(by(&[name("Export")], "").await, [""; 0]);
    it.close().await;
}
