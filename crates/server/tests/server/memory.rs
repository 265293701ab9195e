//! What others can make grow has a bound: `docs/operating.md`, "Memory".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use milepost_server::{Config, ProcessMemory, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connections::{http2_connection, http2_get};
use crate::credentials::{KEY, bearer, get, report};
use crate::support::{Response, Server, quick, until, within};

/// A server with the smallest budget.
fn small() -> Config {
    Config { memory_limit: Some(64 << 20), max_batch_bytes: 1 << 20, ..quick() }
}

async fn metric(server: &Server, name: &str) -> f64 {
    let metrics = server.get("/metrics").await.body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn bodies_in_flight_beyond_their_share_are_refused() {
    let server = Server::with(small()).await;
    // Each has sent all but the last byte of a batch of 1 MiB; the share has 8 MiB.
    let head = "POST /updates HTTP/1.1\r\nhost: t\r\ncontent-length: 1048576\r\n\r\n";
    let part = vec![b' '; (1 << 20) - 1];
    let mut connections = Vec::new();
    for _ in 0..16 {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&part).await.unwrap();
        connections.push(stream);
    }
    let name = "milepost_memory_refusals_total{share=\"bodies\"}";
    until("some to be refused", async || metric(&server, name).await > 0.0).await;
    let used = metric(&server, "milepost_memory_share_bytes{share=\"bodies\"}").await;
    assert!(used <= f64::from(8 << 20), "{used}");
    // Operators need none of it.
    for path in ["/livez", "/health", "/readyz", "/metrics", "/ws/stats", "/jobs"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // Who was let in is served, the others know why they are not.
    let mut problems = Vec::new();
    for mut stream in connections {
        let _ = stream.write_all(b" ").await;
        let mut answer = vec![0; 4096];
        let len = within("an answer", stream.read(&mut answer)).await.unwrap();
        let answer = Response::parse(&answer[..len]);
        match answer.status {
            200 => {}
            _ => problems.push(answer.problem()),
        }
    }
    assert!(!problems.is_empty() && problems.len() < 16, "{problems:?}");
    assert!(problems.iter().all(|problem| problem == "server-full"), "{problems:?}");
    let share = "milepost_memory_share_bytes{share=\"bodies\"}";
    until("all to be given back", async || metric(&server, share).await == 0.0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_list_that_nobody_reads_holds_little() {
    let server = Server::with(Config { memory_limit: Some(256 << 20), ..quick() }).await;
    let update = json!({ "message": "x".repeat(60_000) }).to_string();
    for n in 0..300 {
        assert_eq!(server.report(&format!("j{n}"), &update).await.status, 200);
    }
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /jobs?limit=1000 HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
        // The answer has begun.
        stream.read_exact(&mut [0; 64]).await.unwrap();
        unread.push(stream);
    }
    let used = metric(&server, "milepost_memory_share_bytes{share=\"responses\"}").await;
    assert!(used < f64::from(16 << 20), "{used}");
    // Whoever reads gets all of it.
    let all = server.get("/jobs?limit=1000").await.json();
    assert_eq!(all["jobs"].as_array().unwrap().len(), 300);
    assert_eq!((&all["next"], &all["total"]), (&Value::Null, &json!(300)));
    drop(unread);
    let share = "milepost_memory_share_bytes{share=\"responses\"}";
    until("all to be given back", async || metric(&server, share).await == 0.0).await;
    server.stop().await;
}

#[tokio::test]
async fn large_jobs_after_small_ones_are_listed_in_parts() {
    let server = Server::with(small()).await;
    let large = json!({ "message": "x".repeat(60_000) }).to_string();
    for n in 0..100 {
        assert_eq!(server.report(&format!("large-{n}"), &large).await.status, 200);
    }
    for n in 0..40 {
        assert_eq!(server.report(&format!("small-{n}"), "{}").await.status, 200);
    }
    // The share of responses has 4 MiB, the large jobs 6 MB.
    let all = server.get("/jobs?limit=1000").await.json();
    let ids: Vec<_> = all["jobs"].as_array().unwrap().iter().map(|job| &job["job_id"]).collect();
    assert_eq!((ids.len(), ids[0], ids[139]), (140, &json!("small-39"), &json!("large-0")));
    assert_eq!((&all["next"], &all["total"]), (&Value::Null, &json!(140)));
    // The next page continues where this one ends, in the middle of the large ones.
    let first = server.get("/jobs?limit=45").await.json();
    let next = first["next"].as_str().unwrap();
    let second = server.get(&format!("/jobs?limit=1&after={next}")).await.json();
    assert_eq!(first["jobs"].as_array().unwrap().last(), Some(&all["jobs"][44]));
    assert_eq!(second["jobs"][0], all["jobs"][45]);
    server.stop().await;
}

#[tokio::test]
async fn operators_are_answered_when_no_memory_is_left_for_others() {
    let server = Server::with(Config { key: Some(Secret::new(KEY)), ..small() }).await;
    let update = json!({ "message": "x".repeat(60_000) }).to_string();
    for n in 0..100 {
        let path = format!("/jobs/j{n}");
        assert_eq!(server.request("POST", &path, &bearer(KEY), &update).await.status, 200);
    }
    // Lists that nobody reads, until the share has no room for another part of one. With a window that stays shut, each is
    // held at its first part: one that needs another part without room for it is broken off, and gives its room back.
    let mut unread = Vec::new();
    loop {
        assert!(unread.len() < 200, "the share has 4 MiB, and a part of a list 128 KiB");
        let mut sender = http2_connection(&server, 0).await;
        let mut request = http2_get("/jobs?limit=1000");
        request.headers_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
        let list = within("an answer", sender.send_request(request)).await.unwrap();
        if list.status() != 200 {
            break;
        }
        unread.push((sender, list));
    }
    let refusal = get(&server, "/jobs?limit=1000", KEY).await;
    assert_eq!((refusal.status, refusal.problem().as_str()), (503, "server-full"));
    assert!(refusal.header("retry-after").is_some());
    for path in ["/livez", "/health", "/readyz"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/metrics", "/ws/stats", "/readyz", "/openapi.json"] {
        assert_eq!(get(&server, path, KEY).await.status, 200, "{path}");
    }
    // A worker reports, and a watcher sees it.
    assert_eq!(report(&server, "j0", KEY).await.status, 200);
    assert_eq!(get(&server, "/jobs/j0", KEY).await.json()["status"], "processing");
    drop(unread);
    until("lists to be read again", async || get(&server, "/jobs", KEY).await.status == 200).await;
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_subscriptions_is_refused() {
    let server = Server::with(Config { max_subscriptions: 10, linger: 60.0, ..quick() }).await;
    let mut watcher = server.watch("/ws").await;
    watcher.next().await;
    for n in 0..40 {
        for kind in ["subscribe", "unsubscribe"] {
            watcher.say(&json!({"type": kind, "job_id": format!("j{n}")}).to_string()).await;
        }
    }
    let mut refused = 0;
    let mut done = 0;
    while done < 40 {
        let message = watcher.next().await;
        refused += usize::from(message["problem"] == "too-many-subscriptions");
        done += usize::from(message["type"] == "unsubscribed");
    }
    assert!(refused >= 20, "{refused}");
    assert!(metric(&server, "milepost_topics").await <= 20.0);
    watcher.hears_nothing().await;
    server.stop().await;
}

#[tokio::test]
async fn watched_jobs_beyond_their_share_are_refused() {
    let server = Server::with(Config { linger: 60.0, max_subscriptions: 10_000, ..small() }).await;
    // 3/32 of 64 MiB, 1 KiB each: 6,144 jobs.
    let mut watcher = server.watch("/ws").await;
    watcher.next().await;
    for n in 0..6_200 {
        watcher.say(&json!({"type": "subscribe", "job_id": format!("j{n}")}).to_string()).await;
        let answer = watcher.next().await;
        if n >= 6_144 {
            assert_eq!(answer["problem"], "server-full", "{answer}");
        } else {
            assert_eq!(answer["type"], "subscribed", "{answer}");
        }
    }
    let (code, reason) = {
        let mut late = server.watch("/ws/jobs/late").await;
        assert_eq!(late.next().await["problem"], "server-full");
        late.closed().await
    };
    assert_eq!(code, 1013);
    assert!(serde_json::from_str::<Value>(&reason).unwrap()["retry_ms"].is_u64(), "{reason}");
    // A job that has a topic is still watched, and every job still answers.
    assert_eq!(server.watch("/ws/jobs/j1").await.next().await["type"], "connected");
    assert_eq!(server.report("late", "{}").await.status, 200);
    assert_eq!(server.get("/jobs/late").await.status, 200);
    assert_eq!(server.get("/jobs/late2?wait=1").await.problem(), "server-full");
    server.stop().await;
}

#[tokio::test]
async fn logs_beyond_their_share_keep_the_newest_state_and_end() {
    let server =
        Server::with(Config { linger: 60.0, history: 1.try_into().unwrap(), ..small() }).await;
    let large = |status: &str, attempt: u32| {
        let message = "x".repeat(60_000);
        json!({"status": status, "attempt": attempt, "message": message}).to_string()
    };
    // 1/16 of 64 MiB for logs: 70 of these. Each watched job may keep 8 ends: 20 jobs, 160 of these.
    let mut watchers = Vec::new();
    for n in 0..20 {
        let job = format!("j{n}");
        watchers.push(server.watch(&format!("/ws/jobs/{job}?mode=latest")).await);
        for attempt in 1..=8 {
            assert_eq!(server.report(&job, &large("failed", attempt)).await.status, 200);
        }
    }
    let used = metric(&server, "milepost_memory_share_bytes{share=\"logs\"}").await;
    let limit = metric(&server, "milepost_memory_share_limit_bytes{share=\"logs\"}").await;
    // A log whose newest state no longer fits keeps it all the same, and its newest end.
    assert!(used <= limit + 20.0 * 2.0 * 61_000.0, "{used} of {limit}");
    // Whoever watches has the last end.
    for (n, watcher) in watchers.iter_mut().enumerate() {
        let job = format!("j{n}");
        let end = async { while watcher.next().await["attempt"] != 8 {} };
        within(&format!("the last end of {job}"), end).await;
    }
    // A log of those jobs now holds the end before the newest state, which is the broker's. More jobs fill the share; then
    // one more is refused.
    for n in 20..72 {
        let job = format!("j{n}");
        watchers.push(server.watch(&format!("/ws/jobs/{job}")).await);
        for attempt in 1..=2 {
            assert_eq!(server.report(&job, &large("failed", attempt)).await.status, 200);
        }
    }
    let mut late = server.watch("/ws/jobs/late").await;
    let refusal = late.next().await;
    assert_eq!(refusal["problem"], "server-full", "{refusal}");
    assert!(metric(&server, "milepost_memory_refusals_total{share=\"logs\"}").await >= 1.0);
    server.stop().await;
}

#[tokio::test]
async fn watchers_of_logs_beyond_their_share_have_to_come_back() {
    let server = Server::with(Config { linger: 0.1, ..small() }).await;
    let mut stalled = server.watch("/ws").await;
    stalled.next().await;
    for n in 0..100 {
        stalled.say(&json!({"type": "subscribe", "job_id": format!("j{n}")}).to_string()).await;
        assert_eq!(stalled.next().await["type"], "subscribed");
    }
    let mut quiet = server.watch("/ws/jobs/quiet").await;
    quiet.next().await;
    // An end for each job, and another attempt: 100 ends of 60 KB, which no watcher may miss, in a share of 4 MiB.
    for attempt in 1..=2 {
        for n in 0..100 {
            let message = "x".repeat(60_000);
            let end = json!({"status": "failed", "attempt": attempt, "message": message});
            assert_eq!(server.report(&format!("j{n}"), &end.to_string()).await.status, 200);
        }
    }
    assert!(metric(&server, "milepost_topics_shed_total").await >= 1.0);
    let used = metric(&server, "milepost_memory_share_bytes{share=\"logs\"}").await;
    let limit = metric(&server, "milepost_memory_share_limit_bytes{share=\"logs\"}").await;
    assert!(used <= limit * 1.25, "{used} of {limit}");
    let (code, reason) = stalled.closed().await;
    assert_eq!(code, 1013);
    assert!(serde_json::from_str::<Value>(&reason).unwrap()["retry_ms"].is_u64(), "{reason}");
    // Others do not notice, and whoever comes back is shown the present.
    assert_eq!(server.report("quiet", "{}").await.status, 200);
    assert_eq!(quiet.next().await["job_id"], "quiet");
    until("the memory to be free", async || {
        metric(&server, "milepost_memory_share_bytes{share=\"logs\"}").await == 0.0
    })
    .await;
    let mut back = server.watch("/ws/jobs/j1").await;
    back.next().await;
    assert_eq!(back.next().await["attempt"], 2);
    server.stop().await;
}

/// The memory of a process, as the test says that it is.
#[derive(Default)]
struct FakeMemory {
    resident: AtomicUsize,
    at_once: AtomicBool,
    is_broken: AtomicBool,
}

impl ProcessMemory for FakeMemory {
    fn resident(&self) -> Option<usize> {
        assert!(!self.is_broken.load(Ordering::Relaxed), "the system does not say");
        Some(self.resident.load(Ordering::Relaxed))
    }

    fn give_back_at_once(&self, at_once: bool) {
        self.at_once.store(at_once, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn freed_memory_is_given_back_at_once_while_there_is_little() {
    let memory = Arc::new(FakeMemory::default());
    let server = Server::in_process(small(), memory.clone()).await;
    let at_once = async || memory.at_once.load(Ordering::Relaxed);
    // Three quarters of 64 MiB, and less than five eighths.
    memory.resident.store(48 << 20, Ordering::Relaxed);
    until("memory to be given back at once", at_once).await;
    assert!(
        (metric(&server, "process_resident_memory_bytes").await - f64::from(48 << 20)).abs() < 1.0
    );
    memory.resident.store(39 << 20, Ordering::Relaxed);
    until("memory to be kept for a moment", async || !at_once().await).await;
    server.stop().await;
}

#[tokio::test]
async fn livez_names_the_tasks_that_have_failed() {
    let memory = Arc::new(FakeMemory::default());
    let server = Server::in_process(small(), memory.clone()).await;
    memory.is_broken.store(true, Ordering::Relaxed);
    until("the task to fail", async || server.get("/livez").await.status == 503).await;
    // It is restarted, and fails again, until the system says it.
    until("the task to be named", async || {
        let answer = server.get("/livez").await;
        answer.status == 503 && answer.json()["failing"] == json!(["memory"])
    })
    .await;
    memory.is_broken.store(false, Ordering::Relaxed);
    until("the process to be healthy", async || server.get("/livez").await.status == 200).await;
    assert!(metric(&server, "milepost_task_failures_total{task=\"memory\"}").await >= 1.0);
    server.stop().await;
}

#[tokio::test]
async fn ends_do_not_bypass_the_limit_of_states() {
    const LIMIT: usize = 4 << 20;
    let server = Server::with(Config { max_bytes: Some(LIMIT), ..quick() }).await;
    let jobs = |update: &dyn Fn(usize) -> Value| -> String {
        (0..50).map(|n| update(n).to_string()).collect::<Vec<_>>().join("\n")
    };
    let end = |job: usize| json!({"job_id": format!("j{job}"), "status": "completed", "result": "x".repeat(64_000)});
    // 1,000 jobs that end with 64 KB each: 64 MB, of which 4 MiB are kept.
    for part in 0..20 {
        let first = part * 50;
        let begun = jobs(&|n| json!({"job_id": format!("j{}", first + n)}));
        let ended = jobs(&|n| end(first + n));
        for batch in [begun, ended] {
            let outcomes = server.request("POST", "/updates", "", &batch).await.body;
            assert!(!outcomes.contains("\"status\":5"), "{outcomes}");
        }
        let bytes = metric(&server, "milepost_broker_bytes").await;
        assert!(bytes <= 4_194_304.0, "{bytes}");
    }
    assert!(metric(&server, "milepost_evicted_jobs_total").await >= 900.0);
    assert_eq!(server.get("/jobs/j999").await.status, 200);
    server.stop().await;
}
