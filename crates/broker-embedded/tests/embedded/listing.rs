//! Listing jobs is cheap for others, however many jobs there are.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use milepost_broker::{Broker, Jobs, JobsQuery, MAX_CONSIDERED};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_protocol::{Health, Status};
use proptest::prelude::*;

use crate::{in_memory, job, report};

const STATUSES: [&str; 5] = ["queued", "processing", "completed", "failed", "cancelled"];

async fn page(broker: &Embedded, query: &JobsQuery) -> Jobs {
    broker.jobs(query).await.expect("it answers")
}

fn names(jobs: &Jobs) -> Vec<String> {
    jobs.states.iter().map(|state| state.job().as_str().to_owned()).collect()
}

/// All pages, one after the other.
async fn walk(broker: &Embedded, mut query: JobsQuery) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let jobs = page(broker, &query).await;
        pages.push(names(&jobs));
        assert!(jobs.next.is_none() || jobs.next < query.after || query.after.is_none());
        let Some(next) = jobs.next else { return pages };
        query.after = Some(next);
    }
}

#[tokio::test]
async fn a_page_considers_a_bounded_number_of_jobs() {
    let (broker, _) = in_memory(Limits::default());
    report(&broker, "wanted", "{}").await;
    for number in 0..2 * MAX_CONSIDERED {
        report(&broker, &format!("other-{number}"), "{}").await;
    }
    let query = JobsQuery { text: "wanted".to_owned(), limit: 10, ..JobsQuery::default() };
    let first = page(&broker, &query).await;
    assert_eq!(names(&first), [""; 0]);
    assert!(first.next.is_some(), "there is more to consider");
    assert!(first.unmatched >= MAX_CONSIDERED, "{}", first.unmatched);
    let pages = walk(&broker, query).await;
    assert_eq!(pages.concat(), ["wanted"]);
    assert_eq!(pages.len(), 3);
}

/// On one thread, so that reports are accepted only where the list lets other tasks run, and holds no lock.
#[tokio::test]
async fn reports_are_accepted_while_jobs_are_listed() {
    const SLICE: usize = 256;
    let (broker, _) = in_memory(Limits::default());
    for number in 0..MAX_CONSIDERED {
        report(&broker, &format!("j{number}"), "{}").await;
    }
    let query = JobsQuery { text: "nowhere".to_owned(), limit: 10, ..JobsQuery::default() };
    let reported = Cell::new(0);
    let reporting = async {
        loop {
            // In any stripe.
            report(&broker, &format!("j{}", reported.get()), "{}").await;
            reported.set(reported.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        jobs = page(&broker, &query) => assert_eq!(jobs.unmatched, MAX_CONSIDERED),
        () = reporting => {}
    }
    assert!(reported.get() >= MAX_CONSIDERED / SLICE, "{}", reported.get());
}

#[tokio::test]
async fn few_that_need_somebody_are_found_among_very_many() {
    let (broker, clock) = in_memory(Limits::default());
    for (id, json) in [
        ("failed", r#"{"status":"failed"}"#),
        ("cancelled", r#"{"status":"cancelled"}"#),
        ("lost", r#"{"heartbeat":1}"#),
        ("queued", r#"{"status":"queued"}"#),
        ("again", r#"{"status":"failed"}"#),
    ] {
        report(&broker, id, json).await;
    }
    report(&broker, "again", r#"{"attempt":2}"#).await;
    // In steps, because a jump of the clock means that the process was stopped, and all clocks would start over.
    for _ in 0..32 {
        clock.advance(Duration::from_secs(1));
        broker.check_clocks();
    }
    for number in 0..2 * MAX_CONSIDERED {
        report(&broker, &format!("other-{number}"), "{}").await;
    }
    let find = async |statuses: &[Status], healths: &[Health]| {
        let (statuses, healths) = (statuses.to_vec(), healths.to_vec());
        let query = JobsQuery { statuses, healths, limit: 10, ..JobsQuery::default() };
        let jobs = page(&broker, &query).await;
        assert_eq!(jobs.next, None);
        names(&jobs)
    };
    assert_eq!(find(&[Status::Failed], &[]).await, ["failed"]);
    let two = [Status::Failed, Status::Cancelled, Status::Failed];
    assert_eq!(find(&two, &[]).await, ["cancelled", "failed"]);
    assert_eq!(find(&[], &[Health::Stalled, Health::Lost]).await, ["lost"]);
    assert_eq!(find(&[Status::Queued], &[]).await, ["queued"]);
    broker.forget(&job("failed")).await.expect("it answers");
    assert_eq!(find(&[Status::Failed], &[]).await, [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any query, the pages are the jobs that match, the most recently begun first.
    #[test]
    fn pages_are_what_a_plain_filter_gives(
        reports in prop::collection::vec((0..40_u8, 0..5_usize, 0..3_u8), 0..120),
        wanted in prop::collection::vec(0..5_usize, 0..3),
        name in prop::option::of(0..3_u8),
        limit in 1..7_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (broker, _) = in_memory(Limits::default());
            let mut begun = Vec::new();
            let mut states = BTreeMap::new();
            let mut attempt = 0;
            for (number, status, name) in reports {
                let id = format!("j{number}");
                attempt += 1;
                let status = STATUSES[status];
                let json = format!(r#"{{"status":"{status}","attempt":{attempt},"name":"n{name}"}}"#);
                report(&broker, &id, &json).await;
                if states.insert(id.clone(), (status, name)).is_none() {
                    begun.push(id);
                }
            }
            let wanted: Vec<&str> = wanted.into_iter().map(|status| STATUSES[status]).collect();
            let statuses = wanted.iter().filter_map(|name| Status::from_name(name)).collect();
            let keywords = name.map(|name| milepost_broker::Keyword::Name(format!("n{name}").into()));
            let keywords = keywords.into_iter().collect();
            let query = JobsQuery { statuses, keywords, limit, ..JobsQuery::default() };
            let matches = |id: &&String| {
                let (status, named) = states[*id];
                (wanted.is_empty() || wanted.contains(&status)) && name.is_none_or(|name| name == named)
            };
            let expected: Vec<String> = begun.iter().rev().filter(matches).cloned().collect();
            let pages = walk(&broker, query).await;
            assert_eq!(pages.concat(), expected);
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit));
        });
    }
}
