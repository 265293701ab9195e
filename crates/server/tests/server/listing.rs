//! The list of jobs, as `spec/README.md` has it in section 10.

use serde_json::{Value, json};

use crate::support::Server;

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

async fn list(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/jobs{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()
}

#[tokio::test]
async fn jobs_are_listed_with_their_states_newest_first() {
    let server = Server::start().await;
    assert_eq!(list(&server, "").await, json!({ "jobs": [], "next": null, "total": 0 }));
    for job in ["a", "b", "c"] {
        server.report(job, "{}").await;
    }
    // Begun once: what comes later does not move it.
    server.report("a", r#"{"progress":0.5}"#).await;
    let page = list(&server, "").await;
    assert_eq!(ids(&page), ["c", "b", "a"]);
    assert_eq!((&page["next"], &page["total"]), (&Value::Null, &json!(3)));
    assert_eq!(page["jobs"][2], server.get("/jobs/a").await.json());
    // Deleted and reported again, it begins anew.
    server.request("DELETE", "/jobs/b", "", "").await;
    assert_eq!(list(&server, "").await["total"], 2);
    server.report("b", "{}").await;
    assert_eq!(ids(&list(&server, "").await), ["b", "c", "a"]);
}

#[tokio::test]
async fn pages_follow_one_another_also_while_jobs_come_and_go() {
    let server = Server::start().await;
    for n in 0..25 {
        server.report(&format!("j{n}"), "{}").await;
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=10".to_owned());
    loop {
        let page = list(&server, &query).await;
        seen.extend(ids(&page));
        server.report(&format!("later{}", seen.len()), "{}").await;
        server.request("DELETE", "/jobs/j14", "", "").await;
        let Some(next) = page["next"].as_str() else { break };
        assert!(seen.len() < 30, "pages without end");
        query = format!("?limit=10&after={next}");
    }
    let expected: Vec<String> =
        (0..25).rev().filter(|n| *n != 14).map(|n| format!("j{n}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_full_last_page_is_the_last() {
    let server = Server::start().await;
    for n in 0..4 {
        server.report(&format!("j{n}"), "{}").await;
    }
    let first = list(&server, "?limit=2").await;
    let next = first["next"].as_str().expect("more").to_owned();
    let second = list(&server, &format!("?limit=2&after={next}")).await;
    assert_eq!(ids(&second), ["j1", "j0"]);
    // Either there is no next, or the next page is empty and the last.
    if let Some(next) = second["next"].as_str() {
        let third = list(&server, &format!("?limit=2&after={next}")).await;
        assert_eq!((ids(&third).len(), &third["next"]), (0, &Value::Null));
    }
}

#[tokio::test]
async fn a_list_may_be_filtered() {
    let server = Server::start().await;
    let jobs = [
        ("render:1", "processing"),
        ("render:2", "completed"),
        ("upload:1", "queued"),
        ("upload:2", "failed"),
        ("render:3", "cancelled"),
    ];
    for (job, status) in jobs {
        server.report(job, &format!(r#"{{"status":"{status}"}}"#)).await;
    }
    let cases: [(&str, &[&str]); 9] = [
        ("?prefix=render:", &["render:3", "render:2", "render:1"]),
        ("?prefix=render%3A", &["render:3", "render:2", "render:1"]),
        ("?prefix=none", &[]),
        ("?prefix=", &["render:3", "upload:2", "upload:1", "render:2", "render:1"]),
        ("?status=completed", &["render:2"]),
        ("?status=completed,failed", &["upload:2", "render:2"]),
        ("?status=completed&status=queued", &["upload:1", "render:2"]),
        ("?status=processing,cancelled&prefix=render:&limit=1", &["render:3"]),
        ("?_=1", &["render:3", "upload:2", "upload:1", "render:2", "render:1"]),
    ];
    for (query, expected) in cases {
        let page = list(&server, query).await;
        assert_eq!(ids(&page), expected, "{query}");
        // All that are known, not those that match.
        assert_eq!(page["total"], 5, "{query}");
    }
}

#[tokio::test]
async fn a_list_by_attributes_in_another_order_with_counts() {
    let server = Server::start().await;
    for (job, update) in [
        ("1", r#"{"name":"render","tags":["gpu","night"],"progress":0.5}"#),
        ("2", r#"{"name":"export","tags":["night"],"progress":0.75,"eta":"2030-01-01T00:01:00Z"}"#),
        ("3", r#"{"name":"render","status":"completed"}"#),
        ("4", r#"{"progress":0.25,"eta":"2030-01-01T00:00:00Z"}"#),
        ("5", r#"{"name":{"of":"the worker"},"status":"queued"}"#),
    ] {
        assert_eq!(server.report(job, update).await.status, 200);
    }
    let cases: [(&str, &[&str]); 12] = [
        ("?name=render", &["3", "1"]),
        ("?tag=night&tag=gpu", &["1"]),
        ("?q=REND", &["3", "1"]),
        ("?name=render&health=ok,stalled", &["1"]),
        ("?health=lost", &[]),
        ("?sort=begun", &["5", "4", "3", "2", "1"]),
        ("?sort=progress", &["4", "1", "2", "3", "5"]),
        ("?sort=-progress", &["3", "2", "1", "4", "5"]),
        ("?sort=name", &["2", "3", "1", "5", "4"]),
        ("?sort=status&name=render", &["1", "3"]),
        ("?sort=left", &["4", "2", "5", "3", "1"]),
        ("?sort=-took", &["3", "5", "4", "2", "1"]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&list(&server, query).await), expected, "{query}");
    }
    // Pages of another order.
    let (mut seen, mut query) = (Vec::new(), "?sort=progress&limit=2".to_owned());
    for _ in 0..3 {
        let page = list(&server, &query).await;
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?sort=progress&limit=2&after={next}");
    }
    assert_eq!(seen, ["4", "1", "2", "3", "5"]);
    let page = list(&server, "?name=render&status=completed&counts=true&limit=1").await;
    let counts =
        json!({ "queued": 0, "processing": 1, "completed": 1, "failed": 0, "cancelled": 0 });
    assert_eq!((ids(&page), &page["counts"]), (vec!["3".to_owned()], &counts));
}

#[tokio::test]
async fn a_parameter_that_is_none_is_refused() {
    let server = Server::start().await;
    let cases = [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?parent=a/b", "parent"),
        ("?parent=", "parent"),
        ("?limit=-1", "limit"),
        ("?limit=ten", "limit"),
        ("?limit=", "limit"),
        ("?status=done", "status"),
        ("?status=completed,", "status"),
        ("?after=nowhere", "after"),
        ("?after=", "after"),
        ("?health=ill", "health"),
        ("?sort=size", "sort"),
        ("?sort=-begun", "sort"),
        ("?counts=yes", "counts"),
    ];
    for (query, parameter) in cases {
        let answer = server.get(&format!("/jobs{query}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-parameter"),
            "{query}"
        );
        assert_eq!(answer.json()["errors"][0]["parameter"], parameter, "{query}");
    }
    for query in ["?limit=1", "?limit=1000"] {
        list(&server, query).await;
    }
}

#[tokio::test]
async fn a_page_has_a_hundred_jobs_unless_asked() {
    let server = Server::start().await;
    let lines: Vec<String> = (0..101).map(|n| format!("{{\"job_id\":\"j{n}\"}}")).collect();
    let batch = lines.join("\n");
    server.request("POST", "/updates", "", &batch).await;
    let page = list(&server, "").await;
    assert_eq!((ids(&page).len(), page["next"].is_string()), (100, true));
    assert_eq!(ids(&list(&server, "?limit=1000").await).len(), 101);
}

#[tokio::test]
async fn a_search_among_very_many_jobs_is_cut_into_pages() {
    let server = Server::start().await;
    assert_eq!(server.report("wanted", "{}").await.status, 200);
    for batch in 0..3 {
        let lines = (0..7_000).map(|n| format!(r#"{{"job_id":"other-{batch}-{n}"}}"#));
        let body = lines.collect::<Vec<_>>().join("\n");
        let answer = server.request("POST", "/updates", "", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Some 10,000 jobs are considered for each page, so that a search costs others little.
    let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = list(&server, &format!("?q=WANTED&limit=10{after}")).await;
        found.extend(ids(&page));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, ["wanted"]);
    assert!(pages >= 3, "{pages}");
    server.stop().await;
}
