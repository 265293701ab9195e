//! Reporting by HTTP, as `spec/README.md` has it in sections 2, 3, 10 and 11.

use milepost_access::Permissions;
use milepost_server::Config;
use serde_json::{Value, json};

use crate::credentials::{KEY, bearer, guarded, patterns, token, watches};
use crate::limits::metric;
use crate::support::{Response, Server, quick};

fn refused(answer: &Response, status: u16, problem: &str, what: &str) -> Value {
    assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{what}");
    let body = answer.json();
    assert_eq!(body["status"], status, "{what}");
    assert!(body["title"].is_string(), "{what}: {body}");
    assert!(!body["detail"].as_str().unwrap().is_empty(), "{what}: {body}");
    body
}

async fn delete(server: &Server, path: &str) -> Response {
    server.request("DELETE", path, "", "").await
}

#[tokio::test]
async fn a_report_is_answered_with_its_position() {
    let server = Server::start().await;
    for n in 1..=3 {
        let answer = server.report("user:42:render-7", "{}").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = answer.json();
        let position = body["position"].as_str().unwrap();
        assert!(position.ends_with(&format!("-{n}")), "{position}");
        assert_eq!(answer.header("etag"), Some(format!("\"{position}\"").as_str()));
        let expected = json!({ "job_id": "user:42:render-7", "attempt": 1, "position": position });
        assert_eq!(body, expected);
    }
    // Percent-encoded, it is the same job.
    let answer = server.report("user%3A42%3Arender-7", r#"{"job_id":"user:42:render-7"}"#).await;
    assert!(answer.json()["position"].as_str().unwrap().ends_with("-4"));
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let server = Server::start().await;
    let bodies: [&str; 9] = [
        "",
        " ",
        "{",
        "{} {}",
        "{'a':1}",
        r#"{"progress":NaN}"#,
        r#"{"progress":Infinity}"#,
        "progress=0.5",
        "\u{feff}{}",
    ];
    for body in bodies {
        refused(&server.report("a", body).await, 400, "invalid-json", body);
    }
    let request = b"POST /jobs/a HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{\"m\":\"\xff\"}";
    refused(&server.exchange(request).await, 400, "invalid-json", "no UTF-8");
    assert_eq!(server.get("/jobs/a").await.status, 404);
}

#[tokio::test]
async fn an_update_that_is_not_valid_is_refused_with_the_field() {
    let server = Server::start().await;
    let long = format!(r#"{{"stage":"{}"}}"#, "s".repeat(257));
    let cases = [
        ("[]", ""),
        ("7", ""),
        ("null", ""),
        (r#""text""#, ""),
        (r#"{"status":"done"}"#, "/status"),
        (r#"{"status":7}"#, "/status"),
        (r#"{"stage":7}"#, "/stage"),
        (&long, "/stage"),
        (r#"{"progress":"0.5"}"#, "/progress"),
        (r#"{"progress":1e999}"#, "/progress"),
        (r#"{"message":[]}"#, "/message"),
        (r#"{"timestamp":7}"#, "/timestamp"),
        (r#"{"error":{}}"#, "/error"),
        (r#"{"attempt":0}"#, "/attempt"),
        (r#"{"attempt":4294967296}"#, "/attempt"),
        (r#"{"attempt":1.5}"#, "/attempt"),
        (r#"{"attempt":"1"}"#, "/attempt"),
        (r#"{"ttl":0}"#, "/ttl"),
        (r#"{"ttl":2592001}"#, "/ttl"),
        (r#"{"job_id":"b"}"#, "/job_id"),
        (r#"{"job_id":7}"#, "/job_id"),
        (r#"{"progress":1,"progress":1}"#, "/progress"),
        (r#"{"mine/~":1,"mine/~":2}"#, "/mine~1~0"),
    ];
    for (update, pointer) in cases {
        let body = refused(&server.report("a", update).await, 422, "invalid-update", update);
        assert_eq!(body["errors"][0]["pointer"], pointer, "{update}: {body}");
        assert!(body["errors"][0]["detail"].is_string(), "{update}: {body}");
    }
    assert_eq!(server.get("/jobs/a").await.status, 404);
}

#[tokio::test]
async fn what_is_at_the_edge_is_taken() {
    let server = Server::start().await;
    let long = format!(r#"{{"stage":"{}"}}"#, "s".repeat(256));
    let updates = [
        &long,
        "{}",
        r#"{"progress":-1e300}"#,
        r#"{"progress":7}"#,
        r#"{"progress":null}"#,
        r#"{"status":null,"stage":null,"message":null,"timestamp":null,"error":null,"attempt":null,"ttl":null}"#,
        r#"{"position":"1-1"}"#,
        r#"{"ttl":2592000}"#,
        r#"{"job_id":"a","metadata":[null],"result":{},"mine":{"a":[1]}}"#,
        " {\r\n\t\"message\" : \"m\" } \n",
        r#"{"attempt":4294967295}"#,
    ];
    for update in updates {
        let answer = server.report("a", update).await;
        assert_eq!(answer.status, 200, "{update}: {answer:?}");
        let state = server.get("/jobs/a").await;
        assert_eq!(state.json()["position"], answer.json()["position"]);
        assert!(!state.body.contains('\n'), "{}", state.body);
    }
    server.report("b", r#"{"progress":7}"#).await;
    assert_eq!(server.get("/jobs/b").await.json()["progress"], 1.0);
}

#[tokio::test]
async fn a_job_id_that_is_not_allowed_is_refused() {
    let server = Server::start().await;
    let long = "a".repeat(129);
    for job in ["a%20b", "a%2Fb", "%C3%A9", "%00", "%ff", "..", ".", "a+b", &long] {
        refused(&server.report(job, "{}").await, 400, "invalid-job-id", job);
        let deleted = delete(&server, &format!("/jobs/{job}")).await;
        refused(&deleted, 400, "invalid-job-id", job);
    }
    assert_eq!(server.get("/jobs").await.json()["total"], 0);
}

#[tokio::test]
async fn an_update_may_be_as_large_as_the_limit() {
    let server = Server::with(Config { max_update_bytes: 1_024, ..quick() }).await;
    let update = |len: usize| format!(r#"{{"message":"{}"}}"#, "m".repeat(len - 14));
    assert_eq!(server.report("a", &update(1_024)).await.status, 200);
    let answer = server.report("a", &update(1_025)).await;
    let body = refused(&answer, 413, "update-too-large", "announced");
    assert!(body["detail"].to_string().contains("1024"), "{body}");
    // Not announced, but found to be so.
    let chunked = format!(
        "POST /jobs/a HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         401\r\n{}\r\n0\r\n\r\n",
        update(1_025)
    );
    refused(&server.exchange(chunked.as_bytes()).await, 413, "update-too-large", "chunked");
    let name = "milepost_limit_refusals_total{limit=\"size\",of=\"request\"}";
    assert_eq!(metric(&server, "", name).await, 2);
    let batch = format!("{{\"job_id\":\"b\"}}\n{}\n{{\"job_id\":\"c\"}}\n", update(1_025));
    let answer = server.request("POST", "/updates", "", &batch).await;
    let lines: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["type"], "urn:milepost:problem:update-too-large");
    assert_eq!((&lines[0]["job_id"], &lines[2]["job_id"]), (&json!("b"), &json!("c")));

    // As it comes: 65,536 bytes.
    let server = Server::start().await;
    assert_eq!(server.report("a", &update(65_536)).await.status, 200);
    refused(&server.report("a", &update(65_537)).await, 413, "update-too-large", "by default");
}

#[tokio::test]
async fn the_first_end_wins_and_the_very_same_again_is_repeated() {
    let server = Server::start().await;
    server.report("a", r#"{"progress":0.5}"#).await;
    let end = r#"{"status":"completed","result":{"n":1}}"#;
    let first = server.report("a", end).await;
    assert_eq!(first.json().get("repeated"), None);
    let again = server.report("a", end).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.header("etag"), first.header("etag"));
    let mut expected = first.json();
    expected["repeated"] = json!(true);
    assert_eq!(again.json(), expected);

    let others = [
        "{}",
        r#"{"status":"failed"}"#,
        r#"{"status":"completed","result":{"n":2}}"#,
        r#"{"attempt":1,"status":"queued"}"#,
    ];
    for update in others {
        let body = refused(&server.report("a", update).await, 409, "attempt-ended", update);
        assert_eq!((&body["attempt"], &body["position"]), (&json!(1), &expected["position"]));
    }
    let state = server.get("/jobs/a").await.json();
    assert_eq!((&state["result"]["n"], &state["position"]), (&json!(1), &expected["position"]));
}

#[tokio::test]
async fn a_higher_attempt_starts_clean_and_supersedes() {
    let server = Server::start().await;
    server.report("a", r#"{"stage":"rendering","progress":0.9}"#).await;
    let opened = server.report("a", r#"{"attempt":3}"#).await.json();
    assert_eq!(opened["attempt"], 3);
    let state = server.get("/jobs/a").await.json();
    assert_eq!((&state["stage"], state.get("progress")), (&json!("processing"), None));
    // None named: the latest.
    assert_eq!(server.report("a", "{}").await.json()["attempt"], 3);
    let body =
        refused(&server.report("a", r#"{"attempt":2}"#).await, 409, "attempt-superseded", "");
    assert_eq!(body["attempt"], 3);
    assert_eq!(body["position"], server.get("/jobs/a").await.json()["position"]);
    server.report("a", r#"{"status":"failed"}"#).await;
    assert_eq!(server.report("a", r#"{"attempt":4,"status":"completed"}"#).await.status, 200);
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_each_line_in_order() {
    let server = Server::start().await;
    let batch = [
        r#"{"job_id":"a","progress":0.1}"#,
        "",
        r#"{"job_id":"b"}"#,
        "nonsense",
        r#"{"job_id":"a","status":"completed"}"#,
        "  \t",
        r#"{"job_id":"a","progress":0.2}"#,
        r#"{"progress":0.2}"#,
        r#"{"job_id":"a b"}"#,
        r#"{"job_id":"b","status":"done"}"#,
        r#"{"job_id":"a","status":"completed"}"#,
    ];
    let expected = [
        "a",
        "b",
        "invalid-json",
        "a",
        "attempt-ended",
        "invalid-update",
        "invalid-job-id",
        "invalid-update",
        "a",
    ];
    for newline in ["\n", "\r\n"] {
        let answer = server.request("POST", "/updates", "", &batch.join(newline)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        assert!(answer.body.ends_with('\n'));
        let outcomes: Vec<Value> =
            answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named: Vec<String> = outcomes
            .iter()
            .map(|outcome| match outcome["type"].as_str() {
                Some(uri) => uri.replace("urn:milepost:problem:", ""),
                None => outcome["job_id"].as_str().unwrap().to_owned(),
            })
            .collect();
        if newline == "\n" {
            assert_eq!(named, expected);
            assert_eq!(outcomes[5]["errors"][0]["pointer"], "/job_id");
            assert_eq!(outcomes[8]["position"], outcomes[3]["position"]);
            assert_eq!(outcomes[8]["repeated"], true);
        }
        assert_eq!(named.len(), expected.len(), "{newline:?}");
    }
    let nothing = server.request("POST", "/updates", "", "\n\n").await;
    assert_eq!((nothing.status, nothing.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_and_lines() {
    let config = Config { max_batch_bytes: 4_096, max_batch_lines: 10, ..quick() };
    let server = Server::with(config).await;
    let post = async |body: &str| server.request("POST", "/updates", "", body).await;
    let lines = |count: usize| "{\"job_id\":\"a\"}\n\n".repeat(count);
    assert_eq!(post(&lines(10)).await.body.lines().count(), 10);
    // All or none: nothing of it was taken.
    refused(&post(&lines(11)).await, 413, "batch-too-large", "lines");
    let padding = |len: usize| format!("{}{{\"job_id\":\"b\"}}", " ".repeat(len - 14));
    assert_eq!(post(&padding(4_096)).await.body.lines().count(), 1);
    refused(&post(&padding(4_097)).await, 413, "batch-too-large", "bytes");
    let position = server.get("/jobs/a").await.json()["position"].to_string();
    assert!(position.contains("-10"), "{position}");
}

#[tokio::test]
async fn a_deleted_job_is_forgotten() {
    let server = Server::start().await;
    let old = server.report("a", r#"{"status":"completed"}"#).await.json();
    let deleted = delete(&server, "/jobs/a").await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    refused(&delete(&server, "/jobs/a").await, 404, "unknown-job", "again");
    for path in ["/jobs/a", "/jobs/a/history"] {
        assert_eq!(server.get(path).await.status, 404);
    }
    // A new life: a new epoch, and the first attempt again.
    let new = server.report("a", "{}").await.json();
    assert_eq!(new["attempt"], 1);
    let epoch = |position: &Value| position.as_str().unwrap().split_once('-').unwrap().0.to_owned();
    assert_ne!(epoch(&new["position"]), epoch(&old["position"]));
}

#[tokio::test]
async fn a_full_broker_rejects_new_jobs_and_serves_the_others() {
    let server = Server::with(Config { max_jobs: 2, ..quick() }).await;
    server.report("a", "{}").await;
    server.report("b", "{}").await;
    let answer = server.report("c", "{}").await;
    refused(&answer, 503, "broker-full", "c");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.report("a", r#"{"status":"completed"}"#).await.status, 200);
    // What has ended makes room.
    assert_eq!(server.report("c", "{}").await.status, 200);
    assert_eq!(server.get("/jobs/a").await.status, 404);
    refused(&server.report("d", "{}").await, 503, "broker-full", "d");
}

#[tokio::test]
async fn reports_at_the_same_moment_are_all_counted_once() {
    let server = Server::start().await;
    let reports = (0..50).map(|_| server.report("a", "{}"));
    let mut positions: Vec<String> = futures_util::future::join_all(reports)
        .await
        .iter()
        .map(|answer| answer.json()["position"].to_string())
        .collect();
    positions.sort();
    positions.dedup();
    assert_eq!(positions.len(), 50);
}

#[tokio::test]
async fn a_request_is_in_the_state_and_in_every_answer_to_the_worker() {
    let server = Server::start().await;
    let post = async |job: &str, body: &str| {
        server.request("POST", &format!("/jobs/{job}/requests"), "", body).await
    };
    let cancel = r#"{"action":"cancel","by":"me","reason":"why"}"#;
    refused(&post("nobody", cancel).await, 404, "unknown-job", "unknown");
    server.report("plain", "{}").await;
    refused(&post("plain", cancel).await, 409, "not-cancellable", "plain");
    server.report("a", r#"{"cancellable":true,"progress":0.5}"#).await;
    for (body, status, problem) in [
        ("", 400, "invalid-json"),
        (r#"{"action":"cancel","force":true}"#, 400, "invalid-parameter"),
        (r#"{"action":1}"#, 400, "invalid-parameter"),
        (r#"{"action":"stop"}"#, 400, "invalid-parameter"),
        (r#"{"action":"abandon"}"#, 409, "not-cancellable"),
    ] {
        refused(&post("a", body).await, status, problem, body);
    }
    let long = format!(r#"{{"action":"cancel","by":"{}"}}"#, "x".repeat(257));
    refused(&post("a", &long).await, 400, "invalid-parameter", "a long name");
    // A worker that waits is answered with the request.
    let waiting = server.get("/jobs/a/requests?wait=30");
    let asking = async {
        while server.get("/watchers?job_id=a").await.json()["watchers"]["a"] != 1 {}
        post("a", cancel).await
    };
    let (waited, asked) = tokio::join!(waiting, asking);
    let asked = (asked.status, asked.json());
    let state = server.get("/jobs/a").await.json();
    assert_eq!(asked.0, 202);
    assert_eq!((&asked.1["position"], &state["progress"]), (&state["position"], &json!(0.5)));
    assert_eq!(waited.json()["requested"], state["requested"]);
    assert_eq!(state["requested"]["by"], "me");
    let again = post("a", r#"{"action":"cancel","by":"other"}"#).await.json();
    assert_eq!((&again["repeated"], &again["position"]), (&true.into(), &state["position"]));
    refused(&post("a", r#"{"action":"pause"}"#).await, 409, "not-cancellable", "cancelled");
    refused(&post("a", r#"{"action":"abandon"}"#).await, 409, "not-cancellable", "too early");
    let heartbeat = server.report("a", r#"{"progress":0.5}"#).await.json();
    assert_eq!(heartbeat["requested"], state["requested"]);
    server.report("a", r#"{"status":"completed"}"#).await;
    refused(&post("a", cancel).await, 409, "attempt-ended", "ended");
    refused(&post("a", r#"{"action":"abandon"}"#).await, 409, "attempt-ended", "ended");
    assert_eq!(server.get("/jobs/a/requests?wait=30").await.json()["status"], "completed");
}

#[tokio::test]
async fn a_plain_report_is_answered_as_by_the_router() {
    let (plain, routed) = (Server::start().await, Server::start().await);
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(70_000));
    let cases = [
        ("a", "", r#"{"progress":0.5}"#),
        ("a", "", r#"{"status":"completed"}"#),
        ("a", "", r#"{"status":"completed"}"#),
        ("a", "", r#"{"status":"processing"}"#),
        ("a", "", "no JSON"),
        ("a", "", r#"{"progress":"0.5"}"#),
        ("a", "", &large),
        ("a!", "", "{}"),
        ("..", "", "{}"),
        ("a/b", "", "{}"),
        ("", "", "{}"),
        ("%61", "", "{}"),
        ("b", "if-match: *\r\n", "{}"),
        ("b", "content-encoding: gzip\r\n", "{}"),
        ("b", "content-encoding: identity\r\n", "{}"),
        ("b", "origin: https://evil.example\r\n", "{}"),
        ("b", "content-type: text/plain\r\n", "{}"),
    ];
    same_both_ways(&plain, &routed, &cases).await;
}

#[tokio::test]
async fn a_plain_report_is_authorized_as_by_the_router() {
    let (plain, routed) = (Server::with(guarded()).await, Server::with(guarded()).await);
    let reports = Permissions { report: patterns(&["mine:*"]), ..Permissions::default() };
    let (worker, page) = (token(reports, 60.0), token(watches(&["mine:*"]), 60.0));
    let late = token(Permissions { report: patterns(&["*"]), ..Permissions::default() }, -1.0);
    let [key, worker, page, late] = [KEY, &*worker, &*page, &*late].map(bearer);
    let [twice, basic] = [format!("{key}{worker}"), key.replace("Bearer", "Basic")];
    let cookie = worker.replace("authorization: Bearer ", "cookie: milepost_token=");
    let conditional = format!("{key}if-match: *\r\n");
    let cases = [
        ("mine:a", "", "{}"),
        ("mine:a", &*key, r#"{"progress":0.5}"#),
        ("mine:a", &*worker, "{}"),
        ("other", &*worker, "{}"),
        ("mine:a", &*page, "{}"),
        ("mine:a", &*late, "{}"),
        ("mine:a", &*basic, "{}"),
        ("mine:a", &*twice, "{}"),
        ("mine:a", &*cookie, "{}"),
        ("mine:a", &*conditional, "{}"),
        ("a!", &*key, "{}"),
        ("a!", &*worker, "{}"),
        ("mine:a", &*key, "no JSON"),
    ];
    let statuses = same_both_ways(&plain, &routed, &cases).await;
    assert_eq!(
        statuses,
        [401, 200, 200, 403, 403, 401, 401, 400, 403, 400, 400, 400, 400],
        "which of them are allowed"
    );
    let refusal = plain.request("POST", "/jobs/mine:a", &twice, "{}").await.json();
    assert_eq!(refusal["detail"], "authorization is given more than once");
}

/// Sends each request, a job, headers and an update, to a server that takes it as a plain report, and to one whose router
/// takes it; the statuses.
async fn same_both_ways(plain: &Server, routed: &Server, cases: &[(&str, &str, &str)]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (job, headers, update) in cases {
        // The router takes a request with a parameter, and passes over this one.
        let mut answers = Vec::new();
        for (server, query) in [(plain, ""), (routed, "?_=1")] {
            let path = format!("/jobs/{job}{query}");
            let answer = server.request("POST", &path, headers, update).await;
            let mut body = answer.json();
            let position = body["position"].take();
            let tag = position.as_str().filter(|_| answer.status == 200);
            let tag = tag.map(|position| format!("\"{position}\""));
            assert_eq!(answer.header("etag").map(str::to_owned), tag, "{job} {headers}{update}");
            // Positions, and those in a detail, differ in the epoch.
            let detail = body["detail"].take();
            assert_eq!(body["instance"].take().is_string(), answer.status != 200);
            let of = ["content-type", "cache-control"]
                .map(|name| answer.header(name).map(str::to_owned));
            answers.push((answer.status, body, detail.is_null(), of));
        }
        assert_eq!(answers[0], answers[1], "{job} {headers}{update}");
        statuses.push(answers[0].0);
    }
    statuses
}

#[tokio::test]
async fn stages_are_weighed_by_earlier_jobs_of_the_name() {
    let server = Server::start().await;
    let at = |stage: &str| {
        format!(r#"{{"name":"film","stages":["fetch",{{"id":"encode"}}],"stage":"{stage}"}}"#)
    };
    for stage in ["fetch", "encode"] {
        assert_eq!(server.report("film-1", &at(stage)).await.status, 200);
    }
    let first = server.get("/jobs/film-1").await.json();
    assert_eq!((first.get("stage_weights"), &first["progress"]), (None, &0.5.into()));
    server.report("film-1", r#"{"status":"completed"}"#).await;

    server.report("film-2", &at("encode")).await;
    let second = server.get("/jobs/film-2").await.json();
    let [fetch, encode] =
        ["fetch", "encode"].map(|stage| second["stage_weights"][stage].as_f64().unwrap());
    assert!(fetch > 0.0 && encode > 0.0, "{second}");
    let progress = second["progress"].as_f64().unwrap();
    assert!((progress - fetch / (fetch + encode)).abs() < 1e-6, "{second}");
    let history = server.get("/jobs/film-2/history").await.json();
    assert_eq!(history["stages"][0]["weight"], encode);
}
