//! Keys and tokens: what each allows, forgeries, and how they end.

use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milepost_access::{KeyRing, NewKey, Pattern, Permissions, TokenRules, sign};
use milepost_protocol::Timestamp;
use milepost_server::{Config, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::limits::metric;
use crate::support::{Events, Response, Server, Watcher, handshake, quick, until, within};

pub(crate) const KEY: &str = "the operator's key, which is long";
const SECRET: &str = "a secret of thirty-two bytes, and more";

pub(crate) fn guarded() -> Config {
    Config {
        key: Some(Secret::new(KEY)),
        token_secret: Some(Secret::new(SECRET)),
        token_leeway: 0.0,
        ..quick()
    }
}

pub(crate) fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

pub(crate) fn watches(texts: &[&str]) -> Permissions {
    Permissions { watch: patterns(texts), ..Permissions::default() }
}

fn in_seconds(seconds: f64) -> f64 {
    let now = Duration::from_micros(Timestamp::now().as_micros().try_into().unwrap());
    now.as_secs_f64() + seconds
}

pub(crate) fn token(permissions: Permissions, seconds: f64) -> String {
    sign(SECRET, permissions, Some("42".to_owned()), &TokenRules::default(), in_seconds(seconds))
        .unwrap()
}

pub(crate) fn bearer(credential: &str) -> String {
    format!("authorization: Bearer {credential}\r\n")
}

pub(crate) async fn get(server: &Server, path: &str, credential: &str) -> Response {
    server.request("GET", path, &bearer(credential), "").await
}

pub(crate) async fn report(server: &Server, job: &str, credential: &str) -> Response {
    server.request("POST", &format!("/jobs/{job}"), &bearer(credential), "{}").await
}

/// A handshake with more headers. The credential is refused on the socket, not by a status.
pub(crate) async fn open(
    server: &Server,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Watcher, Option<String>), u16> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, response)) => {
            let protocol = response.headers().get("sec-websocket-protocol");
            let protocol = protocol.map(|protocol| protocol.to_str().unwrap().to_owned());
            Ok((Watcher { socket }, protocol))
        }
        Err(Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn open_with(server: &Server, path: &str, credential: &str) -> Watcher {
    let authorization = format!("Bearer {credential}");
    open(server, path, &[("authorization", &authorization)]).await.unwrap().0
}

#[tokio::test]
async fn every_route_asks_unless_it_is_for_everybody() {
    let server = Server::with(guarded()).await;
    let document = server.get("/openapi.json").await.json();
    let public = ["/health", "/livez", "/readyz", "/openapi.json", "/asyncapi.yaml"];
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let is_socket = path.starts_with("/ws") && path != "/ws/stats";
        if public.contains(&path.as_str()) || is_socket {
            continue;
        }
        for method in operations.as_object().unwrap().keys() {
            let (method, path) = (method.to_uppercase(), path.replace("{job_id}", "a"));
            for headers in [
                "",
                "authorization: Basic YTpi\r\n",
                &bearer("wrong"),
                "cookie: milepost_token=x\r\n",
            ] {
                let answer = server.request(&method, &path, headers, "").await;
                let is_write_by_cookie = headers.starts_with("cookie") && method != "GET";
                let status = if is_write_by_cookie { 403 } else { 401 };
                assert_eq!(answer.status, status, "{method} {path} {headers}");
                let challenge = answer.header("www-authenticate");
                assert!(is_write_by_cookie || challenge == Some("Bearer realm=\"milepost\""));
                asked += 1;
            }
        }
    }
    assert!(asked >= 40, "{asked}");
    for path in public.into_iter().chain(["/", "/try", "/milepost.js"]) {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/ws", "/ws/jobs/a"] {
        let mut watcher = server.watch(path).await;
        assert_eq!(watcher.next().await["problem"], "unauthenticated");
        assert_eq!(watcher.closed().await.0, 4401);
    }
    // HEAD is as GET.
    assert_eq!(server.request("HEAD", "/metrics", "", "").await.status, 401);
    server.stop().await;
}

#[tokio::test]
async fn the_key_allows_everything() {
    let server = Server::with(guarded()).await;
    assert_eq!(report(&server, "a", KEY).await.status, 200);
    for path in
        ["/jobs/a", "/jobs", "/metrics", "/ws/stats", "/watchers?job_id=a", "/jobs/a/history"]
    {
        assert_eq!(get(&server, path, KEY).await.status, 200, "{path}");
    }
    let mut watcher = open_with(&server, "/ws/jobs/a", KEY).await;
    assert_eq!(watcher.next().await["known"], true);
    assert_eq!(server.request("DELETE", "/jobs/a", &bearer(KEY), "").await.status, 204);
    server.stop().await;
}

#[tokio::test]
async fn a_token_allows_what_it_says() {
    let server = Server::with(guarded()).await;
    for job in ["user:1:a", "user:2:a"] {
        assert_eq!(report(&server, job, KEY).await.status, 200);
    }
    let mine = token(watches(&["user:1:*"]), 60.0);
    assert_eq!(get(&server, "/jobs/user:1:a", &mine).await.status, 200);
    // A job of somebody else is as one that is not known.
    for rest in ["", "/status", "/history", "/badge.svg", "/badge.json"] {
        let (known, unknown) = ("user:2:a", "user:2:b");
        let ask = async |job: &str| {
            let headers = format!("{}x-request-id: same\r\n", bearer(&mine));
            let answer = server.request("GET", &format!("/jobs/{job}{rest}"), &headers, "").await;
            (answer.status, answer.body.replace(job, "JOB"))
        };
        let forbidden = ask(known).await;
        assert_eq!((forbidden.0, &forbidden), (404, &ask(unknown).await));
        // And as one that may be watched and is not known.
        assert_eq!(forbidden, ask("user:1:b").await);
    }
    assert_eq!(report(&server, "user:1:a", &mine).await.problem(), "forbidden");
    let answer = server.request("DELETE", "/jobs/user:1:a", &bearer(&mine), "").await;
    assert_eq!(answer.problem(), "unknown-job");
    for path in ["/metrics", "/ws/stats"] {
        assert_eq!(get(&server, path, &mine).await.problem(), "forbidden", "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn lists_show_what_may_be_watched() {
    let server = Server::with(guarded()).await;
    let mut batch = String::new();
    for n in 0..300 {
        writeln!(batch, r#"{{"job_id":"user:{}:{n}"}}"#, n % 3).unwrap();
    }
    let answer = server.request("POST", "/updates", &bearer(KEY), &batch).await;
    assert_eq!(answer.status, 200);
    let mine = token(watches(&["user:1:*"]), 60.0);
    let (mut path, mut seen) = ("/jobs?limit=30".to_owned(), 0);
    loop {
        let page = get(&server, &path, &mine).await.json();
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.iter().all(|job| job["job_id"].as_str().unwrap().starts_with("user:1:")));
        assert_eq!(page["total"], jobs.len(), "others' jobs are not counted");
        seen += jobs.len();
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/jobs?limit=30&after={next}");
    }
    assert_eq!(seen, 100);
    assert_eq!(get(&server, "/jobs", KEY).await.json()["total"], 300);
    let none = token(watches(&["other:*"]), 60.0);
    assert_eq!(get(&server, "/jobs", &none).await.json()["jobs"], json!([]));
    let _watcher = open_with(&server, "/ws/jobs/user:2:0", KEY).await;
    let watchers = async |credential: &str| {
        get(&server, "/watchers?job_id=user:2:2", credential).await.json()["watchers"]["user:2:2"]
            .clone()
    };
    assert_eq!(watchers(&mine).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn reporters_write_logs_and_watchers_read_them() {
    let server = Server::with(guarded()).await;
    let permissions = Permissions { report: patterns(&["a*"]), ..Permissions::default() };
    let worker = token(permissions, 60.0);
    server.request("POST", "/jobs/a1", &bearer(KEY), "{}").await;
    server.request("POST", "/jobs/b1", &bearer(KEY), "{}").await;
    let append = async |job: &str, credential: &str| {
        let path = format!("/jobs/{job}/log");
        server.request("POST", &path, &bearer(credential), "x").await.status
    };
    let watcher = token(watches(&["a*"]), 60.0);
    assert_eq!(append("a1", &worker).await, 200);
    assert_eq!([append("b1", &worker).await, append("a1", &watcher).await], [403, 403]);
    for query in ["", "?follow=1"] {
        let path = format!("/jobs/a1/log{query}");
        assert_eq!(get(&server, &path, &worker).await.status, 404);
    }
    assert_eq!(get(&server, "/jobs/a1/log", &watcher).await.json()["log"]["lines"], 1);
    assert_eq!(get(&server, "/jobs/b1/log", &watcher).await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_judged_line_by_line() {
    let server = Server::with(guarded()).await;
    let permissions = Permissions { report: patterns(&["a*"]), ..Permissions::default() };
    let worker = token(permissions, 60.0);
    let batch = "{\"job_id\":\"a1\"}\n{\"job_id\":\"b1\"}\n{\"job_id\":\"a2\"}\n";
    let answer = server.request("POST", "/updates", &bearer(&worker), batch).await;
    let lines: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["job_id"], &lines[2]["job_id"]), (&json!("a1"), &json!("a2")));
    assert_eq!(lines[1]["type"], "urn:milepost:problem:forbidden");
    assert_eq!(get(&server, "/jobs/b1", KEY).await.status, 404);
    // It may report, and watch nothing.
    assert_eq!(get(&server, "/jobs/a1", &worker).await.status, 404);
    assert_eq!(get(&server, "/jobs", &worker).await.problem(), "forbidden");
    server.stop().await;
}

#[tokio::test]
async fn forged_tokens_are_refused_on_each_transport() {
    let audience = Config { token_audience: Some("milepost".to_owned()), ..guarded() };
    let server = Server::with(audience).await;
    let rules = |audience: &str| TokenRules {
        audience: Some(audience.to_owned()),
        ..TokenRules::default()
    };
    let signed = |secret: &str, audience: &str, seconds: f64| {
        sign(secret, watches(&["*"]), None, &rules(audience), in_seconds(seconds)).unwrap()
    };
    let good = signed(SECRET, "milepost", 60.0);
    assert_eq!(get(&server, "/jobs", &good).await.status, 200);
    let payload = good.split('.').nth(1).unwrap();
    // {"alg":"none"}, {"alg":"RS256"}, {"alg":"HS256","kid":"../../dev/null"}
    let headers = [
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2Rldi9udWxsIn0",
    ];
    let mut forged: Vec<String> = headers.map(|header| format!("{header}.{payload}.")).to_vec();
    forged.push(signed("another secret, of as many bytes", "milepost", 60.0));
    forged.push(signed(SECRET, "another", 60.0));
    forged.push(signed(SECRET, "milepost", -1.0));
    forged.push(token(watches(&["*"]), 60.0));
    forged.push(format!("{good}{}", "A".repeat(9_000)));
    forged.push(SECRET.to_owned());
    for forged in &forged {
        let answer = get(&server, "/jobs", forged).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (401, "unauthenticated"),
            "{forged}"
        );
        assert!(!answer.body.contains(forged.as_str()), "a refusal does not repeat the token");
    }
    for forged in &forged[..7] {
        let query = format!("/jobs?token={forged}");
        assert_eq!(server.get(&query).await.status, 401);
        let cookie = format!("cookie: milepost_token={forged}\r\n");
        assert_eq!(server.request("GET", "/jobs", &cookie, "").await.status, 401);
        let protocol = format!("milepost, milepost.bearer.{forged}");
        let (mut socket, _) =
            open(&server, "/ws", &[("sec-websocket-protocol", &protocol)]).await.unwrap();
        assert_eq!(socket.closed().await.0, 4401);
        let mut socket = open_with(&server, "/ws", &good).await;
        socket.next().await;
        socket.say(&json!({ "type": "auth", "token": forged }).to_string()).await;
        assert_eq!(socket.next().await["problem"], "unauthenticated");
    }
    let metrics = "milepost_access_refusals_total{reason=\"unauthenticated\"}";
    let operate = Permissions { operate: true, ..Permissions::default() };
    let operator = sign(SECRET, operate, None, &rules("milepost"), in_seconds(60.0)).unwrap();
    let text = get(&server, "/metrics", &operator).await.body;
    let count = text.lines().find_map(|line| line.strip_prefix(metrics)).unwrap();
    assert!(count.trim().parse::<u64>().unwrap() >= 30, "{count}");
    server.stop().await;
}

#[tokio::test]
async fn a_socket_takes_its_token_in_each_way() {
    let config =
        Config { cors_origins: Some(vec!["https://mine.example".to_owned()]), ..guarded() };
    let server = Server::with(config).await;
    let token = token(watches(&["a"]), 60.0);
    let own = format!("http://{}", server.address);
    let offered = format!("milepost, milepost.bearer.{token}");
    let (mut socket, protocol) =
        open(&server, "/ws/jobs/a", &[("sec-websocket-protocol", &offered)]).await.unwrap();
    assert_eq!(
        (socket.next().await["known"].clone(), protocol.as_deref()),
        (json!(false), Some("milepost"))
    );
    let (mut socket, _) = open(&server, &format!("/ws/jobs/a?token={token}"), &[]).await.unwrap();
    assert_eq!(socket.next().await["type"], "connected");
    let cookie = format!("theme=dark; milepost_token={token}");
    for (origin, expected) in [
        (own.as_str(), Ok(())),
        ("https://mine.example", Ok(())),
        ("https://evil.example", Err(403)),
        ("null", Err(403)),
    ] {
        let opened = open(&server, "/ws/jobs/a", &[("cookie", &cookie), ("origin", origin)]).await;
        assert_eq!(opened.map(drop), expected, "{origin}");
    }
    server.stop().await;
    // With `*`, a cookie still counts for named origins only.
    let server = Server::with(guarded()).await;
    let headers = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    assert_eq!(open(&server, "/ws/jobs/a", &headers).await.map(drop), Err(403));
    let from = |site: &str| format!("cookie: {cookie}\r\nsec-fetch-site: {site}\r\n");
    assert_eq!(server.request("GET", "/jobs", &from("same-origin"), "").await.status, 200);
    assert_eq!(server.request("GET", "/jobs", &from("cross-site"), "").await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_subscription_needs_the_right_to_watch() {
    let server = Server::with(guarded()).await;
    report(&server, "user:2:a", KEY).await;
    let mine = token(watches(&["user:1:*"]), 60.0);
    let mut socket = open_with(&server, "/ws", &mine).await;
    socket.next().await;
    for job in ["user:2:a", "user:2:unknown"] {
        socket.say(&json!({ "type": "subscribe", "job_id": job }).to_string()).await;
        let refused = socket.next().await;
        assert_eq!((&refused["problem"], &refused["job_id"]), (&json!("forbidden"), &json!(job)));
    }
    socket.say(r#"{"type":"subscribe","job_id":"user:1:a"}"#).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    report(&server, "user:2:a", KEY).await;
    report(&server, "user:1:a", KEY).await;
    assert_eq!(socket.next().await["job_id"], "user:1:a");
    for job in ["user:2:a", "user:2:unknown"] {
        let mut socket = open_with(&server, &format!("/ws/jobs/{job}"), &mine).await;
        assert_eq!(socket.next().await["problem"], "forbidden");
        assert_eq!(socket.closed().await.0, 4403);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_socket_ends_with_its_token_unless_it_gets_another() {
    let server = Server::with(guarded()).await;
    let short = || token(watches(&["a*"]), 4.0);
    let (mut ends, mut renewed) = (
        open_with(&server, "/ws/jobs/a", &short()).await,
        open_with(&server, "/ws", &short()).await,
    );
    for socket in [&mut ends, &mut renewed] {
        assert_eq!(socket.next().await["type"], "connected");
        let warning = socket.next().await;
        assert_eq!(warning["type"], "token_expiring");
        assert!((0.0..=4.0).contains(&warning["in"].as_f64().unwrap()), "{warning}");
    }
    for job in ["a", "ab"] {
        renewed.say(&json!({ "type": "subscribe", "job_id": job }).to_string()).await;
        assert_eq!(renewed.next().await["type"], "subscribed");
    }
    // The new one allows less.
    let longer = token(watches(&["a"]), 60.0);
    renewed.say(&json!({ "type": "auth", "token": longer }).to_string()).await;
    let answer = renewed.next().await;
    assert_eq!(answer["type"], "authenticated");
    assert!((50.0..=60.0).contains(&answer["expires_in"].as_f64().unwrap()), "{answer}");
    let lost = renewed.next().await;
    assert_eq!((&lost["problem"], &lost["job_id"]), (&json!("forbidden"), &json!("ab")));
    assert_eq!(ends.closed().await.0, 4401);
    for job in ["ab", "a"] {
        report(&server, job, KEY).await;
    }
    assert_eq!(renewed.next().await["job_id"], "a");
    server.stop().await;
}

#[tokio::test]
async fn a_log_over_a_socket_needs_the_right_to_watch_its_job() {
    let server = Server::with(guarded()).await;
    for job in ["a", "ab", "b"] {
        report(&server, job, KEY).await;
    }
    let mut socket = open_with(&server, "/ws", &token(watches(&["a*"]), 60.0)).await;
    socket.next().await;
    for job in ["a", "ab", "b"] {
        let command = json!({"type": "subscribe", "job_id": job, "log": true});
        socket.say(&command.to_string()).await;
        let answer = socket.next().await;
        let expected = if job == "b" { ("error", "b") } else { ("log", job) };
        assert_eq!(
            (answer["type"].as_str(), answer["job_id"].as_str()),
            (Some(expected.0), Some(expected.1))
        );
    }
    // The new token allows less.
    let auth = json!({"type": "auth", "token": token(watches(&["a"]), 60.0)});
    socket.say(&auth.to_string()).await;
    assert_eq!(socket.next().await["type"], "authenticated");
    let lost = socket.next().await;
    let found = (&lost["problem"], &lost["job_id"], &lost["log"]);
    assert_eq!(found, (&json!("forbidden"), &json!("ab"), &json!(true)));
    for job in ["ab", "a"] {
        let path = format!("/jobs/{job}/log");
        assert_eq!(server.request("POST", &path, &bearer(KEY), "line").await.status, 200);
    }
    assert_eq!(socket.next().await["job_id"], "a");
    server.stop().await;
}

#[tokio::test]
async fn a_socket_for_one_job_is_closed_when_a_token_takes_it_away() {
    let server = Server::with(guarded()).await;
    let mut socket = open_with(&server, "/ws/jobs/a", &token(watches(&["a"]), 60.0)).await;
    socket.next().await;
    socket.say(&json!({ "type": "auth", "token": token(watches(&["b"]), 60.0) }).to_string()).await;
    assert_eq!(socket.closed().await.0, 4403);
    let mut flood = open_with(&server, "/ws", KEY).await;
    flood.next().await;
    for _ in 0..11 {
        flood.say(r#"{"type":"auth","token":"x"}"#).await;
    }
    for n in 0..11 {
        let expected = if n < 10 { "unauthenticated" } else { "too-many-requests" };
        assert_eq!(flood.next().await["problem"], expected);
    }
    let name = "milepost_limit_refusals_total{limit=\"tokens\",of=\"socket\"}";
    assert_eq!(metric(&server, &bearer(KEY), name).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn streams_and_polls_end_with_their_token() {
    // With keepalives in between.
    let server = Server::with(Config { ping_interval: 0.25, ..guarded() }).await;
    report(&server, "a", KEY).await;
    let short = token(Permissions { report: patterns(&["a"]), ..watches(&["a"]) }, 4.0);
    let position = get(&server, "/jobs/a", KEY).await.header("etag").unwrap().to_owned();
    let poll = async {
        let headers = format!("{}if-none-match: {position}\r\n", bearer(&short));
        server.request("GET", "/jobs/a?wait=30", &headers, "").await
    };
    let requests = get(&server, "/jobs/a/requests?wait=30", &short);
    let stream = async {
        let path = format!("/jobs/a/events?token={short}");
        let mut events = Events::open(&server, &path, "").await;
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        last.unwrap()
    };
    let all = async { tokio::join!(poll, requests, stream) };
    let (poll, requests, last) = within("all of them to end", all).await;
    for polled in [poll, requests] {
        assert_eq!((polled.status, polled.problem().as_str()), (401, "unauthenticated"));
    }
    assert_eq!(last.name.as_deref(), Some("unauthenticated"));
    assert_eq!(get(&server, "/jobs/a/events", &short).await.status, 401);
    server.stop().await;
}

#[tokio::test]
async fn a_key_may_have_white_space_around_it_and_nothing_odd() {
    let key = Some(Secret::new(format!(" {KEY}\r\n")));
    let server = Server::with(Config { key, ..quick() }).await;
    assert_eq!(report(&server, "a", KEY).await.status, 200);
    assert_eq!(get(&server, "/jobs/a", &KEY[1..]).await.status, 401);
    server.stop().await;
    for (odd, problem) in [
        ("a key of a line\nand another one", "no header may have"),
        ("ключ, который достаточно длинный", "no header may have"),
        (" short with spaces        ", "too short"),
    ] {
        let error = Config::check_setting("key", odd.into()).unwrap_err().to_string();
        assert!(error.contains(problem) && !error.contains(odd.trim()), "{error}");
    }
}

#[tokio::test]
async fn a_child_needs_a_parent_that_its_reporter_may_report() {
    let server = Server::with(guarded()).await;
    let parent = r#"{"complete_when":"all_ended","children_expected":1}"#;
    for job in ["user:1:p", "user:2:p"] {
        let path = format!("/jobs/{job}");
        assert_eq!(server.request("POST", &path, &bearer(KEY), parent).await.status, 200);
    }
    let mine = Permissions { report: patterns(&["user:1:*"]), ..Permissions::default() };
    let mine = bearer(&token(mine, 60.0));
    let child =
        |parent| format!(r#"{{"job_id":"user:1:c","parent_id":"{parent}","status":"failed"}}"#);
    let refused = server.request("POST", "/jobs/user:1:c", &mine, &child("user:2:p")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "forbidden"));
    assert!(refused.body.contains("user:2:p"), "{}", refused.body);
    let line = server.request("POST", "/updates", &mine, &child("user:2:p")).await;
    assert_eq!(line.json()["type"], "urn:milepost:problem:forbidden");
    assert_eq!(
        server.request("POST", "/jobs/user:1:c", &mine, &child("user:1:p")).await.status,
        200
    );
    let failed =
        async |job| get(&server, &format!("/jobs/{job}"), KEY).await.json()["status"] == "failed";
    until("its own parent to end", async || failed("user:1:p").await).await;
    let other = get(&server, "/jobs/user:2:p", KEY).await.json();
    assert_eq!((&other["status"], &other["children"]), (&json!("processing"), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let make = |name: &str| NewKey::generate(name, watches(&["*"]), String::new()).unwrap();
    let (stays, goes) = (make("stays"), make("goes"));
    let mut keys = KeyRing::default();
    keys.add(stays.key.clone()).unwrap();
    keys.add(goes.key.clone()).unwrap();
    fs::write(&file, keys.to_toml()).unwrap();
    let config = Config { keys_file: Some(file.clone()), ping_interval: 0.25, ..quick() };
    let server = Server::with(config).await;
    let mut sockets = Vec::new();
    for key in [&stays, &goes] {
        let mut socket = open_with(&server, "/ws/jobs/a", &key.secret).await;
        socket.next().await;
        sockets.push(socket);
    }
    let mut events = Events::open(&server, "/jobs/a/events", &bearer(&goes.secret)).await;
    while events.next_block().await.unwrap().comment.is_none() {}
    // A file that is wrong, or that is just being written, changes nothing.
    for wrong in ["[[key]]", ""] {
        fs::write(&file, wrong).unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(get(&server, "/jobs", &goes.secret).await.status, 200);
    }
    keys.revoke("goes");
    let added = make("added");
    keys.add(added.key.clone()).unwrap();
    fs::write(&file, keys.to_toml()).unwrap();
    until("the key to be revoked", async || {
        get(&server, "/jobs", &goes.secret).await.status == 401
    })
    .await;
    assert_eq!(get(&server, "/jobs", &added.secret).await.status, 200);
    assert_eq!(sockets[1].closed().await, (4403, "the key was revoked".to_owned()));
    assert_eq!(events.next().await.unwrap().name.as_deref(), Some("unauthenticated"));
    sockets[0].hears_nothing().await;
    server.stop().await;
}

#[tokio::test]
async fn keys_of_tokens_are_fetched_and_rotate() {
    let key = |kid: &str, x: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
    let one = json!({ "keys": [key("one", "ppNOiSoI3euTw7atv0-kXuGfDe5vlX4FpCRpKcZsMbk")] });
    let two = json!({ "keys": [key("two", "hTFZcFp9Kql07yqVcreqddPrP688YoWGkiJqcV0QBv4")] });
    let set = Arc::new(Mutex::new(one.to_string()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let served = Arc::clone(&set);
    let publishing = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let set = served.lock().unwrap().clone();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{set}",
                set.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let server = Server::with(Config { token_jwks_url: Some(url), ..quick() }).await;
    let sign = |pem: &str| {
        sign(pem, watches(&["*"]), None, &TokenRules::default(), in_seconds(60.0)).unwrap()
    };
    let (first, second) =
        (sign(include_str!("../keys/one.pem")), sign(include_str!("../keys/two.pem")));
    until("the set to be fetched", async || get(&server, "/jobs", &first).await.status == 200)
        .await;
    // A token of a key that is not in the set has it fetched again.
    *set.lock().unwrap() = two.to_string();
    assert_eq!(get(&server, "/jobs", &second).await.status, 200);
    assert_eq!(get(&server, "/jobs", &first).await.status, 401);
    publishing.abort();
    server.stop().await;
}

#[tokio::test]
async fn a_slow_header_and_a_silent_socket_hold_nobody_up() {
    let server = Server::with(Config { header_timeout: 0.5, ..guarded() }).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /jobs HTTP/1.1\r\nauthorization: Bearer ").await.unwrap();
    let mut rest = Vec::new();
    within("the connection to be given up", slow.read_to_end(&mut rest)).await.unwrap();
    // A socket that is refused is closed though its client says nothing.
    let mut silent = server.connect().await;
    silent.write_all(handshake("/ws").as_bytes()).await.unwrap();
    within("the socket to be closed", silent.read_to_end(&mut rest)).await.unwrap();
    server.stop().await;
}
