//! `GET /metrics` counts what happened.

use std::collections::BTreeMap;

use crate::support::{Server, until};
use milepost_protocol::Timestamp;
use milepost_server::Config;

/// Samples by name and labels, as they are written.
pub(crate) async fn scrape(server: &Server) -> BTreeMap<String, String> {
    let answer = server.get("/metrics").await;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
    assert!(answer.body.ends_with("# EOF\n"));
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in answer.body.lines() {
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let (family, kind) = said.split_once(' ').unwrap();
            assert!(types.insert(family, kind).is_none(), "{family} twice");
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let family = ["_total", "_info"].iter().find_map(|end| name.strip_suffix(end));
            let kind = types.get(family.unwrap_or(name)).copied();
            let is_total = name.ends_with("_total");
            assert_eq!(is_total, kind == Some("counter"), "{line} of {kind:?}");
            assert!(samples.insert(sample.to_owned(), value.to_owned()).is_none(), "{line}");
        }
    }
    samples
}

fn number(samples: &BTreeMap<String, String>, name: &str) -> f64 {
    samples[name].parse().unwrap()
}

#[tokio::test]
async fn what_happens_is_counted() {
    let before = Timestamp::now().since(Timestamp::from_micros(0)).as_secs_f64();
    let server = Server::with(Config { max_jobs: 2, ..Config::default() }).await;
    let at_start = scrape(&server).await;
    for name in [
        "milepost_active_connections",
        "milepost_broker_bytes",
        "milepost_connections_total",
        "milepost_errors_total",
        "milepost_evicted_jobs_total",
        "milepost_unreadable_jobs_total",
        "milepost_known_jobs",
        "milepost_messages_sent_total",
        "milepost_updates_total{outcome=\"accepted\"}",
        "milepost_updates_total{outcome=\"refused\"}",
        "milepost_watched_jobs",
    ] {
        assert_eq!(at_start.get(name), Some(&"0".to_owned()), "{name}");
    }
    // The scrape's own.
    assert_eq!(at_start["milepost_open_sockets"], "1");
    assert_eq!(at_start["milepost_known_jobs_limit"], "2");
    assert_eq!(at_start["milepost_broker_limit_bytes"], "1073741824");
    let version = concat!("milepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(at_start[version], "1");
    assert!(number(&at_start, "process_start_time_seconds") >= before);

    server.report("a", r#"{"progress":0.5}"#).await;
    server.report("b", r#"{"status":"completed"}"#).await;
    server.report("b", r#"{"progress":0.5}"#).await;
    // b has ended, and is given up for c.
    server.report("c", r#"{"progress":0.5}"#).await;
    let mut watchers = [server.watch("/ws/jobs/a").await, server.watch("/ws/jobs/a").await];
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await["type"], "connected");
        assert_eq!(watcher.next().await["progress"], 0.5);
    }
    // What a shard has sent is counted when its turn is over.
    until("the counts", || async {
        let now = scrape(&server).await;
        number(&now, "milepost_messages_sent_total") >= 2.0
    })
    .await;
    let now = scrape(&server).await;
    for (name, value) in [
        ("milepost_active_connections", "2"),
        ("milepost_connections_total", "2"),
        ("milepost_watched_jobs", "1"),
        ("milepost_known_jobs", "2"),
        ("milepost_evicted_jobs_total", "1"),
        ("milepost_updates_total{outcome=\"accepted\"}", "3"),
        ("milepost_updates_total{outcome=\"refused\"}", "1"),
        ("milepost_errors_total", "0"),
    ] {
        assert_eq!(now[name], value, "{name}");
    }
    assert!(number(&now, "milepost_broker_bytes") > 0.0);
    assert!(number(&now, "milepost_open_sockets") >= 3.0);
    assert_eq!(now["process_start_time_seconds"], at_start["process_start_time_seconds"]);

    drop(watchers);
    until("the watchers' leaving to be counted", || async {
        let now = scrape(&server).await;
        now["milepost_active_connections"] == "0" && now["milepost_watched_jobs"] == "0"
    })
    .await;
    assert_eq!(scrape(&server).await["milepost_connections_total"], "2");
    server.stop().await;
}
