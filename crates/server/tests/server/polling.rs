//! Polling, as `spec/README.md` has it in section 9.

use std::num::NonZeroUsize;

use milepost_server::Config;
use serde_json::{Value, json};

use crate::support::{Response, Server, quick, until};

async fn report(server: &Server, update: &str) -> String {
    let reported = server.report("a", update).await;
    assert_eq!(reported.status, 200, "{reported:?}");
    reported.json()["position"].as_str().unwrap().to_owned()
}

async fn get_unless(server: &Server, query: &str, tags: &str) -> Response {
    let header = format!("If-None-Match: {tags}\r\n");
    server.request("GET", &format!("/jobs/a{query}"), &header, "").await
}

/// Asks, and while it waits, does something else.
async fn meanwhile<T>(
    server: &Server,
    asking: impl Future<Output = Response>,
    doing: impl Future<Output = T>,
) -> Response {
    let doing = async {
        until("somebody to wait", async || {
            server.get("/ws/stats").await.json()["stats"]["active_jobs"] == 1
        })
        .await;
        doing.await
    };
    tokio::join!(asking, doing).0
}

#[tokio::test]
async fn the_state_is_answered_with_its_position_as_the_tag() {
    let server = Server::start().await;
    let position = report(&server, r#"{"progress":0.5,"n":1.10}"#).await;
    for path in ["/jobs/a", "/jobs/a/status", "/jobs/a?wait=60"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("etag"), Some(format!("\"{position}\"").as_str()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.json()["position"], position);
        assert!(answer.body.contains(r#""n":1.10"#), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_position_that_was_seen_is_answered_with_304() {
    let server = Server::start().await;
    let old = report(&server, "{}").await;
    let now = report(&server, "{}").await;
    let (epoch, number) = now.split_once('-').unwrap();
    let ahead = format!("{epoch}-{}", number.parse::<u64>().unwrap() + 1);
    let unmodified = [
        format!("\"{now}\""),
        format!("W/\"{now}\""),
        format!("\"{ahead}\""),
        format!("\"{old}\", \"{now}\""),
        format!("\"x\" ,W/\"1-1\",\"{now}\",  \"{old}\""),
        format!("\"{old}\"\r\nIf-None-Match: \"{now}\""),
    ];
    for tags in unmodified {
        let answer = get_unless(&server, "", &tags).await;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{tags}");
        // RFC 9110, section 15.4.5.
        assert_eq!(answer.header("etag"), Some(format!("\"{now}\"").as_str()), "{tags}");
    }
    let modified = [format!("\"{old}\""), "\"1-1\"".to_owned(), "nonsense".to_owned(), now.clone()];
    for tags in modified {
        let answer = get_unless(&server, "", &tags).await;
        assert_eq!(answer.status, 200, "{tags}");
        assert_eq!(answer.json()["position"], now, "{tags}");
    }
    // Without conditions.
    assert_eq!(get_unless(&server, "/status", &format!("\"{now}\"")).await.status, 200);
}

#[tokio::test]
async fn a_wait_ends_with_a_newer_state() {
    let server = Server::start().await;
    let asking = server.get("/jobs/a?wait=60");
    let answer = meanwhile(&server, asking, report(&server, r#"{"progress":0.1}"#)).await;
    assert_eq!((answer.status, &answer.json()["progress"]), (200, &json!(0.1)));

    let seen = answer.header("etag").unwrap().to_owned();
    let asking = get_unless(&server, "?wait=60", &seen);
    let answer = meanwhile(&server, asking, report(&server, r#"{"progress":0.2}"#)).await;
    assert_eq!((answer.status, &answer.json()["progress"]), (200, &json!(0.2)));

    // What is newer already is not waited for.
    assert_eq!(get_unless(&server, "?wait=60", &seen).await.json()["progress"], 0.2);
    assert_eq!(get_unless(&server, "?wait=60", "\"1-1\"").await.json()["progress"], 0.2);

    let seen = answer.header("etag").unwrap().to_owned();
    let asking = get_unless(&server, "?wait=60", &seen);
    let end = report(&server, r#"{"status":"completed"}"#);
    let answer = meanwhile(&server, asking, end).await;
    assert_eq!(answer.json()["status"], "completed");
}

#[tokio::test]
async fn a_wait_ends_when_the_job_is_forgotten_and_reported_again() {
    let server = Server::start().await;
    report(&server, "{}").await;
    let seen = format!("\"{}\"", report(&server, "{}").await);
    let asking = get_unless(&server, "?wait=60", &seen);
    let deleted = server.request("DELETE", "/jobs/a", "", "");
    let answer = meanwhile(&server, asking, deleted).await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "unknown-job"));
    let asking = get_unless(&server, "?wait=60", &seen);
    let answer = meanwhile(&server, asking, report(&server, r#"{"progress":0.75}"#)).await;
    assert_eq!((answer.status, &answer.json()["progress"]), (200, &json!(0.75)));
}

#[tokio::test]
async fn a_wait_in_vain_ends_with_304_or_404() {
    let server = Server::start().await;
    let unknown = server.get("/jobs/a?wait=0.1").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "unknown-job"));
    assert_eq!(unknown.header("retry-after"), Some("1"));
    let seen = format!("\"{}\"", report(&server, r#"{"status":"failed"}"#).await);
    let answer = get_unless(&server, "?wait=0.1", &seen).await;
    assert_eq!((answer.status, answer.header("etag")), (304, Some(seen.as_str())));
    assert_eq!(get_unless(&server, "?wait=0", &seen).await.status, 304);
}

#[tokio::test]
async fn a_wait_that_is_none_is_refused() {
    let server = Server::start().await;
    report(&server, "{}").await;
    for wait in ["60.1", "61", "1e9", "-1", "-0.1", "NaN", "inf", "soon", "", "1s", "1&wait=2"] {
        let answer = server.get(&format!("/jobs/a?wait={wait}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-parameter"),
            "{wait}"
        );
        assert!(answer.body.contains("wait"), "{answer:?}");
    }
    for wait in ["0", "0.5", "60", "1e1"] {
        assert_eq!(server.get(&format!("/jobs/a?wait={wait}")).await.status, 200, "{wait}");
    }
}

#[tokio::test]
async fn an_unknown_job_and_no_job_at_all() {
    let server = Server::start().await;
    for path in ["/jobs/a", "/jobs/a/status", "/jobs/a/history"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "unknown-job"), "{path}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    for path in ["/jobs/a%20b", "/jobs/a%20b/status", "/jobs/%ff/history", "/jobs/%2e%2e"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-job-id"), "{path}");
    }
    let answer = server.get(&format!("/jobs/{}", "a".repeat(129))).await;
    assert_eq!(answer.problem(), "invalid-job-id");
    assert!(answer.body.contains("129"), "{answer:?}");
    assert_eq!(server.get(&format!("/jobs/{}", "a".repeat(128))).await.problem(), "unknown-job");
}

#[tokio::test]
async fn history_has_the_latest_states_oldest_first() {
    let history = NonZeroUsize::new(3).unwrap();
    let server = Server::with(Config { history, ..quick() }).await;
    let mut states: Vec<Value> = Vec::new();
    for n in 0..5 {
        report(&server, &format!("{{\"step\":{n}}}")).await;
        states.push(server.get("/jobs/a").await.json());
        let kept = &states[states.len().saturating_sub(3)..];
        let history = server.get("/jobs/a/history").await.json();
        let moment = &states[0]["started_at"];
        let stage = json!({
            "id": "processing", "label": null, "weight": null, "started_at": moment,
            "ended_at": null, "progress_from": null, "progress_to": null,
        });
        let attempt = json!({
            "attempt": 1, "status": "processing", "started_at": moment, "ended_at": null,
            "error": null,
        });
        let expected = json!({
            "job_id": "a", "states": kept, "samples": [], "stages": [stage], "attempts": [attempt],
            "may_control": true,
        });
        assert_eq!(history, expected);
    }
    let server = Server::start().await;
    for _ in 0..40 {
        report(&server, "{}").await;
    }
    let history = server.get("/jobs/a/history").await.json();
    assert_eq!(history["states"].as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn a_head_request_has_the_head_only() {
    let server = Server::start().await;
    let position = report(&server, "{}").await;
    let answer = server.request("HEAD", "/jobs/a", "", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("etag"), Some(format!("\"{position}\"").as_str()));
}

#[tokio::test]
async fn a_tag_with_a_proxys_suffix_is_understood() {
    let server = Server::start().await;
    let tag = server.report("a", "{}").await.header("etag").unwrap().trim_matches('"').to_owned();
    for seen in [
        format!("\"{tag}-gzip\""),
        format!("\"{tag};gzip\""),
        format!("W/\"{tag}\""),
        format!("W/\"{tag}-br\""),
    ] {
        let header = format!("if-none-match: {seen}\r\n");
        assert_eq!(server.request("GET", "/jobs/a", &header, "").await.status, 304, "{seen}");
    }
    let other = "if-none-match: \"1-1-gzip\"\r\n";
    assert_eq!(server.request("GET", "/jobs/a", other, "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn parameters_that_are_not_known_are_refused_by_name() {
    let server = Server::start().await;
    report(&server, r#"{"progress":0.1}"#).await;
    for (path, named, known) in [
        ("/jobs/a?wiat=30", "wiat", "wait"),
        ("/jobs/a?since=x", "since", "wait"),
        ("/jobs/a/history?limit=3", "limit", "no parameters"),
        ("/jobs/a/events?max_rte=5", "max_rte", "since, mode, max_rate"),
        ("/jobs/a/events?close=end", "close", "since, mode, max_rate"),
        (
            "/jobs?stauts=failed",
            "stauts",
            "prefix, name, parent, q, sort, counts, limit, after, status, health, tag",
        ),
        ("/watchers?job=a", "job", "job_id"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-parameter"),
            "{path}"
        );
        let error = &answer.json()["errors"][0];
        assert_eq!(error["parameter"], named, "{path}");
        assert!(error["detail"].as_str().unwrap().contains(known), "{path}: {error}");
    }
    for (method, path) in
        [("POST", "/jobs/a?ttl=60"), ("POST", "/updates?x=1"), ("DELETE", "/jobs/a?force=1")]
    {
        let answer = server.request(method, path, "", "").await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-parameter"),
            "{path}"
        );
    }
    assert_eq!(server.get("/jobs/a?wait=0&wait=1").await.problem(), "invalid-parameter");
    // What legacy clients ask, what probes ask, and browsers' cache busters.
    for path in [
        "/jobs/a/status?x=1",
        "/health?x=1",
        "/ws/stats?x",
        "/metrics?name[]=x",
        "/jobs/a?_=1&wait=0&token=x",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_change_with_a_condition_or_compressed_is_refused() {
    let server = Server::start().await;
    report(&server, r#"{"progress":0.1}"#).await;
    for header in ["if-match: \"a-1\"", "if-none-match: *", "content-encoding: gzip"] {
        for (method, path) in [
            ("POST", "/jobs/a"),
            ("POST", "/updates"),
            ("POST", "/jobs/a/log"),
            ("POST", "/jobs/a/requests"),
            ("DELETE", "/jobs/a"),
        ] {
            let body = if method == "POST" { "{}" } else { "" };
            let answer = server.request(method, path, &format!("{header}\r\n"), body).await;
            assert_eq!(answer.problem(), "invalid-parameter", "{method} {path} {header}");
            assert_eq!(answer.json()["errors"][0]["parameter"], header.split(':').next().unwrap());
        }
    }
    let plain = server.request("POST", "/jobs/a", "content-encoding: identity\r\n", "{}").await;
    assert_eq!(plain.status, 200);
    for path in ["/jobs/a", "/updates", "/jobs/a/log", "/jobs/a/requests"] {
        let answer = server.request("POST", &format!("{path}?attempt=1"), "", "{}").await;
        assert_eq!(answer.json()["errors"][0]["parameter"], "attempt", "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_badge_has_the_state_in_a_word() {
    let server = Server::start().await;
    let data = async || server.get("/jobs/a/badge.json").await.json();
    assert_eq!(server.get("/jobs/a/badge.svg").await.problem(), "unknown-job");
    report(&server, r#"{"progress":0.999,"name":"<a> & \"b\"\u0007"}"#).await;
    let shown = json!({
        "schemaVersion": 1, "label": "<a> & \"b\"\u{7}", "message": "99%", "color": "#2a6ea6", "isError": false
    });
    assert_eq!(data().await, shown);
    let svg = server.get("/jobs/a/badge.svg").await;
    assert_eq!(svg.header("content-type"), Some("image/svg+xml"));
    assert_eq!(svg.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert!(svg.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(
        svg.body.contains("<title>&lt;a&gt; &amp; &quot;b&quot; : 99%</title>"),
        "{}",
        svg.body
    );

    let position = report(&server, r#"{"progress":null,"name":null}"#).await;
    assert_eq!(data().await["message"], "running");
    for path in ["/badge.svg", "/badge.json"] {
        let tag = format!("\"{position}\"");
        let answer = get_unless(&server, path, &tag).await;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{path}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()), "{path}");
        let answer = get_unless(&server, &format!("{path}?label=x"), "").await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-parameter"),
            "{path}"
        );
    }
    report(&server, r#"{"status":"failed","progress":0}"#).await;
    assert_eq!(get_unless(&server, "/badge.svg", &format!("\"{position}\"")).await.status, 200);
    let failed = data().await;
    assert_eq!((&failed["message"], &failed["isError"]), (&json!("failed"), &json!(true)));

    let long = "j".repeat(60);
    server.report(&long, "{}").await;
    let label = server.get(&format!("/jobs/{long}/badge.json")).await.json()["label"].clone();
    assert_eq!(label, format!("{}…", "j".repeat(40)));
}
