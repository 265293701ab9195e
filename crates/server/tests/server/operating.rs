//! Operating, as `spec/README.md` has it in section 12, and what is asked of every address: CORS, and what
//! happens to strangers.

use milepost_server::{Config, Secret};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Events, Response, Server, drain, quick, until};

#[tokio::test]
async fn the_process_is_healthy_and_ready() {
    let server = Server::start().await;
    for path in ["/health", "/livez"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()["status"], "healthy", "{path}");
    }
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 200);
    let body = ready.json();
    assert_eq!(body["status"], "ready");
    assert_eq!((&body["checks"]["broker"], &body["checks"]["hub"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test]
async fn who_goes_down_is_not_ready_and_says_so() {
    let mut server = Server::start().await;
    // A request of which the end comes when the server goes down already.
    let mut stream = server.connect().await;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: t\r\n").await.unwrap();
    assert_eq!(server.get("/readyz").await.status, 200);
    server.begin_stop();
    until("the door to be closed", async || TcpStream::connect(server.address).await.is_err())
        .await;
    stream.write_all(b"\r\n").await.unwrap();
    let answer = Response::parse(&drain(&mut stream).await);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let body = answer.json();
    assert_eq!(body["status"], "not ready");
    assert_eq!(
        (&body["checks"]["server"], &body["checks"]["broker"]),
        (&json!("going down"), &json!("ok"))
    );
    server.wait().await;
}

#[tokio::test]
async fn stats_have_the_shape_that_operators_know() {
    let server = Server::start().await;
    let stats = async || server.get("/ws/stats").await.json();
    let fresh = stats().await;
    let timestamp = &fresh["timestamp"];
    assert!(timestamp.is_string());
    let expected = json!({
        "status": "healthy",
        "stats": {
            "total_connections": 0, "active_jobs": 0, "messages_sent": 0, "errors": 0,
            "active_connections": 0,
        },
        "timestamp": timestamp,
    });
    assert_eq!(fresh, expected);

    let mut first = server.watch("/ws/jobs/a").await;
    let mut second = server.watch("/ws/jobs/a").await;
    let mut other = server.watch("/ws/jobs/b").await;
    let mut many = server.watch("/ws").await;
    let mut events = Events::open(&server, "/jobs/c/events", "").await;
    for watcher in [&mut first, &mut second, &mut other, &mut many] {
        watcher.next().await;
    }
    events.next().await;
    server.report("a", "{}").await;
    server.report("c", "{}").await;
    first.next().await;
    second.next().await;
    events.next().await;
    let now = stats().await["stats"].clone();
    assert_eq!((&now["total_connections"], &now["active_connections"]), (&json!(5), &json!(5)));
    assert_eq!((&now["active_jobs"], &now["errors"]), (&json!(3), &json!(0)));
    // At least what was seen: four that they are connected, and the states.
    assert!(now["messages_sent"].as_u64().unwrap() >= 7, "{now}");

    drop((first, second, many));
    until("them to be gone", async || stats().await["stats"]["active_connections"] == 2).await;
    let now = stats().await["stats"].clone();
    assert_eq!((&now["total_connections"], &now["active_jobs"]), (&json!(5), &json!(2)));
}

#[tokio::test]
async fn who_watches_which_job_is_counted() {
    let server = Server::start().await;
    let count = async |query: &str| server.get(&format!("/watchers{query}")).await.json();
    assert_eq!(count("").await, json!({ "watchers": {} }));
    assert_eq!(count("?job_id=a,never").await, json!({ "watchers": { "a": 0, "never": 0 } }));

    let mut first = server.watch("/ws/jobs/a").await;
    let mut many = server.watch("/ws").await;
    many.next().await;
    for job in ["a", "b"] {
        many.say(&format!(r#"{{"type":"subscribe","job_id":"{job}"}}"#)).await;
        // Twice is the same watcher anew.
        many.say(&format!(r#"{{"type":"subscribe","job_id":"{job}"}}"#)).await;
        many.next().await;
        many.next().await;
    }
    let mut events = Events::open(&server, "/jobs/a/events", "").await;
    events.next().await;
    first.next().await;
    let expected = json!({ "watchers": { "a": 3, "b": 1 } });
    until("all to be counted", async || count("?job_id=a&job_id=b").await == expected).await;

    many.say(r#"{"type":"unsubscribe","job_id":"b"}"#).await;
    drop((first, events));
    let expected = json!({ "watchers": { "a": 1, "b": 0 } });
    until("them to be gone", async || count("?job_id=a,b").await == expected).await;

    let hundred = vec!["j"; 100].join(",");
    assert_eq!(server.get(&format!("/watchers?job_id={hundred}")).await.status, 200);
    for query in [format!("job_id={hundred},j"), "job_id=".to_owned(), "job_id=a%20b".to_owned()] {
        let answer = server.get(&format!("/watchers?{query}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-parameter"),
            "{query}"
        );
        assert_eq!(answer.json()["errors"][0]["parameter"], "job_id", "{query}");
    }
}

#[tokio::test]
async fn an_address_with_nothing_is_a_problem() {
    let server = Server::start().await;
    for path in
        ["/nothing", "/jobs/", "/jobs/a/b", "/jobs/a/events/", "/ws/jobs/", "/ws/jobs/a/b", "/%ff"]
    {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not-found"), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(path), "{answer:?}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_allowed_is_a_problem() {
    let server = Server::start().await;
    let cases = [
        ("PUT", "/jobs/a", "GET,HEAD,POST,DELETE"),
        ("PATCH", "/jobs/a", "GET,HEAD,POST,DELETE"),
        ("POST", "/jobs", "GET,HEAD"),
        ("GET", "/updates", "POST"),
        ("DELETE", "/jobs/a/events", "GET,HEAD"),
        ("POST", "/readyz", "GET,HEAD"),
        ("POST", "/ws/jobs/a", "GET,HEAD"),
    ];
    for (method, path, allowed) in cases {
        let answer = server.request(method, path, "", "").await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (405, "method-not-allowed"),
            "{path}"
        );
        // RFC 9110, section 15.5.6.
        let mut named: Vec<&str> =
            answer.header("allow").unwrap().split(',').map(str::trim).collect();
        let mut expected: Vec<&str> = allowed.split(',').collect();
        named.sort_unstable();
        expected.sort_unstable();
        assert_eq!(named, expected, "{method} {path}");
    }
}

async fn preflight(server: &Server, origin: &str, method: &str) -> Response {
    let headers = format!(
        "Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: if-none-match, last-event-id\r\n"
    );
    server.request("OPTIONS", "/jobs/a", &headers, "").await
}

fn allows(answer: &Response, method: &str) -> bool {
    let methods = answer.header("access-control-allow-methods").unwrap_or_default();
    methods.split(',').any(|allowed| allowed.trim() == method)
}

#[tokio::test]
async fn pages_of_any_origin_may_read_and_not_report() {
    // Nobody but the operator says so: without `insecure`, only pages of this machine may.
    let server = Server::with(Config { insecure: true, ..quick() }).await;
    let answer = server.request("GET", "/livez", "Origin: https://page.example\r\n", "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    for name in ["etag", "retry-after", "x-request-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    // Refusals can be read as well.
    let answer = server.request("GET", "/jobs/a", "Origin: https://page.example\r\n", "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (404, Some("*")));
    let answer = preflight(&server, "https://page.example", "GET").await;
    assert_eq!((answer.status, allows(&answer, "GET")), (200, true));
    assert_eq!(answer.header("access-control-allow-headers"), Some("*"));
    for method in ["POST", "DELETE"] {
        let answer = preflight(&server, "https://page.example", method).await;
        assert!(!allows(&answer, method), "{answer:?}");
    }
}

#[tokio::test]
async fn only_pages_of_a_named_origin_may_report() {
    let cors_origins = vec!["https://mine.example".to_owned()];
    let server = Server::with(Config { cors_origins: Some(cors_origins), ..quick() }).await;
    for method in ["GET", "POST", "DELETE"] {
        let answer = preflight(&server, "https://mine.example", method).await;
        assert!(allows(&answer, method), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://mine.example"));
    }
    let answer = preflight(&server, "https://other.example", "GET").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = server.request("GET", "/livez", "Origin: https://other.example\r\n", "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn a_cookie_is_sent_for_pages_of_named_origins_only() {
    let named = Some(vec!["https://mine.example".to_owned()]);
    let any = Some(vec!["*".to_owned()]);
    let key = || Some(Secret::new("a key that is long enough"));
    for (key, cors_origins, origin, allowed) in [
        (key(), named.clone(), "https://mine.example", true),
        (key(), named.clone(), "https://other.example", false),
        (key(), any, "https://mine.example", false),
        (key(), None, "https://mine.example", false),
        // Nobody is asked for a credential, so no cookie is needed.
        (None, named, "https://mine.example", false),
    ] {
        let server = Server::with(Config { key, cors_origins, ..quick() }).await;
        let request = format!("Origin: {origin}\r\n");
        for answer in [
            server.request("GET", "/jobs/a", &request, "").await,
            preflight(&server, origin, "GET").await,
        ] {
            // Browsers take both of them together, and never `*`.
            let credentials = answer.header("access-control-allow-credentials") == Some("true");
            let of = answer.header("access-control-allow-origin");
            assert_eq!(credentials && of == Some(origin), allowed, "{origin} {answer:?}");
            assert!(!credentials || of != Some("*"), "{answer:?}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_foreign_page_may_not_report_without_a_preflight_either() {
    let cors_origins = vec!["*".to_owned(), "https://mine.example".to_owned()];
    let server = Server::with(Config { cors_origins: Some(cors_origins), ..quick() }).await;
    // The harness asks for the host `test`.
    for (origin, allowed) in [
        ("https://other.example", false),
        ("null", false),
        ("https://mine.example", true),
        ("http://test", true),
    ] {
        // What a form, or a fetch without a preflight, sends.
        let headers = format!("Origin: {origin}\r\nContent-Type: text/plain\r\n");
        for (method, path, body, done) in [
            ("POST", "/jobs/a", "{}", 200),
            ("POST", "/updates", "{\"job_id\":\"a\"}", 200),
            ("DELETE", "/jobs/a", "", 204),
        ] {
            let answer = server.request(method, path, &headers, body).await;
            let expected = if allowed { done } else { 403 };
            assert_eq!(answer.status, expected, "{method} {path} from {origin}");
            if !allowed {
                assert_eq!(answer.problem(), "origin-not-allowed");
            }
        }
    }
}

#[tokio::test]
async fn a_shard_that_has_much_to_do_still_answers() {
    let server = Server::with(Config { shards: std::num::NonZeroUsize::new(1), ..quick() }).await;
    let mut watcher = server.watch("/ws/jobs/a").await;
    watcher.next().await;
    let batch = "{\"job_id\":\"a\"}\n".repeat(5_000);
    let (batch, ready) =
        tokio::join!(server.request("POST", "/updates", "", &batch), server.get("/readyz"));
    assert_eq!((batch.status, ready.status), (200, 200));
    let last: Value = serde_json::from_str(batch.body.lines().last().unwrap()).unwrap();
    watcher.until(&last["position"]).await;
}

/// After a restart all watchers come back at once; who is not let in by the kernel tries again only after seconds.
#[tokio::test]
async fn many_may_wait_to_be_accepted() {
    // Many, or what the kernel allows.
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let many = most.trim().parse().unwrap_or(0).min(1_500);
    let listener = milepost_server::listen(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..many {
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    // A connection for which there is no room is established for the client only, once: the second hangs.
    let (stream, _) = listener.accept().await.unwrap();
    drop((stream, waiting));
}
