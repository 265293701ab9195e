//! Job logs: numbered lines, bounded, kept as long as the job.

use std::sync::Arc;
use std::time::Duration;

use milepost_broker::{Appended, LogError, LogPage, LogPart, MAX_JOB_LOG_BYTES, line_cost};
use milepost_protocol::{JobId, LogLine, LogStream, Position, Timestamp};

use crate::harness::{Harness, Settings};

fn line(text: &str) -> LogLine {
    LogLine::new(text, Some(LogStream::Stdout), Timestamp::from_micros(0))
}

async fn append(it: &Harness, job: &JobId, texts: &[&str]) -> Appended {
    let lines = texts.iter().map(|text| line(text)).collect();
    it.logs().append_log(job, lines).await.expect("the lines are accepted")
}

async fn page(it: &Harness, job: &JobId, after: Option<Position>, most: usize) -> LogPage {
    let page = it.logs().log(job, LogPart { after, most }).await;
    page.expect("the backend answers").expect("the job is known")
}

pub async fn lines_are_numbered_and_paged(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let empty = page(&it, &job, None, 10).await;
    assert_eq!((empty.log, empty.lines.len()), (Appended::default(), 0));
    assert_eq!(append(&it, &job, &[]).await, Appended::default());
    let end = append(&it, &job, &["one", "t\u{1b}[1mwo\u{0}"]).await.end.expect("a position");
    assert_eq!(end.number, 2);
    // Neither an update nor an end changes the log.
    it.report(&job, r#"{"status":"completed"}"#).await;
    let appended = append(&it, &job, &["three", "four"]).await;
    assert_eq!(appended, Appended { end: Some(Position { number: 4, ..end }), dropped: 0 });
    assert_eq!(append(&it, &job, &[]).await, appended);

    let newest = page(&it, &job, None, 3).await;
    let texts = ["t\u{1b}[1mwo\u{0}", "three", "four"];
    let expected: Vec<_> = texts.iter().map(|text| line(text)).collect();
    assert_eq!((newest.first, newest.gap, &newest.lines), (2, false, &expected));
    assert_eq!((newest.log, newest.next()), (appended, appended.end));
    let after = page(&it, &job, Some(Position { number: 1, ..end }), 2).await;
    assert_eq!((after.first, after.gap, &after.lines[..]), (2, false, &expected[..2]));
    assert_eq!(after.next(), Some(Position { number: 3, ..end }));
    let last = page(&it, &job, appended.end, 2).await;
    assert_eq!((last.lines.len(), last.gap, last.next()), (0, false, appended.end));
    it.close().await;
}

pub async fn a_log_is_bounded_and_marks_the_gap(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let text = "x".repeat(1_000);
    let first = append(&it, &job, &["first"]).await.end.expect("a position");
    let many = vec![text.as_str(); 150];
    append(&it, &job, &many).await;
    let appended = append(&it, &job, &many).await;
    assert_eq!(appended.lines(), 301);
    let kept = page(&it, &job, Some(first), 1_000).await;
    let bytes: usize = kept.lines.iter().map(line_cost).sum();
    assert!(bytes <= MAX_JOB_LOG_BYTES, "{bytes}");
    assert!(bytes + line_cost(&line(&text)) > MAX_JOB_LOG_BYTES, "{bytes}");
    assert!(kept.gap);
    assert_eq!((kept.first, kept.log), (appended.dropped + 1, appended));
    assert_eq!(kept.lines.len() as u64 + appended.dropped, 301);
    // After a position of another log, or beyond this one's end, lines may be missing.
    let foreign = Position { epoch: milepost_protocol::Epoch(first.epoch.0 ^ 1), ..first };
    for after in [foreign, Position { number: 302, ..first }] {
        let page = page(&it, &job, Some(after), 1).await;
        assert_eq!((page.gap, page.first), (true, kept.first));
    }
    it.close().await;
}

pub async fn a_log_goes_with_its_job(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings { ttl: Duration::from_secs(5), ..Settings::default() }).await;
    let job = it.job("a");
    let part = LogPart { after: None, most: 1 };
    let refused = it.logs().append_log(&job, vec![line("x")]).await;
    assert_eq!(refused, Err(LogError::UnknownJob));
    assert_eq!(it.logs().log(&job, part).await, Ok(None));
    it.report(&job, r#"{"ttl":100}"#).await;
    let first = append(&it, &job, &["x"]).await.end;
    it.broker().forget(&job).await.expect("the backend answers");
    assert_eq!(it.logs().log(&job, part).await, Ok(None));
    it.report(&job, r#"{"ttl":5}"#).await;
    assert_eq!(page(&it, &job, None, 1).await.log, Appended::default());
    let second = append(&it, &job, &["y"]).await.end;
    assert_ne!(first, second);
    it.pass(6);
    assert_eq!(it.logs().log(&job, part).await, Ok(None));
    it.report(&job, "{}").await;
    // A reader with a position of the forgotten log learns that lines are missing, and starts over.
    let gone = page(&it, &job, second, 1).await;
    assert_eq!((gone.log, gone.gap, gone.next()), (Appended::default(), true, None));
    append(&it, &job, &["z"]).await;
    it.logs().log_grown(&job, None).await;
    let anew = page(&it, &job, None, 1).await;
    assert_eq!((anew.gap, &anew.lines[..]), (false, &[line("z")][..]));
    it.close().await;
}

pub async fn followers_are_woken_by_lines(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let mut seen = None;
    for text in ["one", "two"] {
        let follower = tokio::spawn({
            let (logs, job) = (Arc::clone(it.logs()), job.clone());
            async move { logs.log_grown(&job, seen).await }
        });
        seen = append(&it, &job, &[text]).await.end;
        let woken = tokio::time::timeout(Duration::from_secs(60), follower).await;
        woken.expect("it is woken").expect("no panic");
    }
    it.close().await;
}
