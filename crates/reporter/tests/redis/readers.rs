//! What legacy readers see of what this reporter writes: a plain SUBSCRIBE of `job_progress:{id}` and a plain GET of
//! `job_status:{id}`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use milepost_redis_servers::Server;
use milepost_reporter::ProgressReporter;
use serde_json::{Value, json};

use crate::bench::{connect, status, stored, wait_for};

/// Another client than ours, subscribed to a job's channel.
struct Subscriber {
    cli: Child,
    lines: BufReader<ChildStdout>,
}

impl Subscriber {
    fn of(server: &Server, job: &str) -> Self {
        let channel = format!("job_progress:{job}");
        let mut cli = Command::new("redis-cli");
        cli.args(["-u", &server.url(), "--raw", "SUBSCRIBE", &channel]);
        let mut cli = cli.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(cli.stdout.take().unwrap());
        let mut subscriber = Self { cli, lines };
        assert_eq!(subscriber.three_lines(), ["subscribe", &channel, "1"]);
        subscriber
    }

    fn three_lines(&mut self) -> [String; 3] {
        [(); 3].map(|()| {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "redis-cli has ended");
            line.trim_end().to_owned()
        })
    }

    fn next(&mut self) -> Value {
        let [kind, _, message] = self.three_lines();
        assert_eq!(kind, "message");
        let mut message: Value = serde_json::from_str(&message).expect("what is published is JSON");
        let proof = message.as_object_mut().and_then(|message| message.remove("proof"));
        assert!(proof.is_some_and(|proof| proof.is_string()), "one field more than the state has");
        message
    }

    /// The first message that is as wanted.
    fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next();
            if wanted(&message) {
                return message;
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.cli.kill();
        let _ = self.cli.wait();
    }
}

/// The fields that legacy readers take, by the types that they take them for.
fn assert_readable(message: &Value, job: &str) {
    assert_eq!(message["job_id"], job, "{message}");
    for text in ["status", "stage", "timestamp"] {
        assert!(message[text].is_string(), "{text} of {message}");
    }
    let progress = message["progress"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&progress), "{message}");
    let timestamp = message["timestamp"].as_str().unwrap();
    assert!(milepost_protocol::Timestamp::parse(timestamp).is_some(), "{timestamp}");
}

#[test]
fn a_plain_subscriber_and_a_plain_get_read_states() {
    let server = Server::start();
    let mut subscriber = Subscriber::of(&server, "job_12345");
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("job_12345");
    job.stage("rendering");
    job.set_total(2_000);
    job.inc(1_500);
    job.message("Rendering frame 1500/2000");
    job.metadata("codec", "h264");
    let update = subscriber.find(|message| message["metadata"]["codec"] == "h264");
    assert_readable(&update, "job_12345");
    assert_eq!(update["status"], "processing");
    assert_eq!(update["stage"], "rendering");
    assert_eq!(update["progress"], 0.75);
    assert_eq!(update["message"], "Rendering frame 1500/2000");
    assert_eq!(stored(&server, "job_status:job_12345"), Some(update), "the key has the same");
    let ttl = server.answer(&["TTL", "job_status:job_12345"]).integer().unwrap();
    assert!((3_500..=3_600).contains(&ttl), "{ttl}");

    job.complete_with(json!({"video_url": "https://cdn.example.com/video.mp4"}));
    let end = subscriber.find(|message| message["status"] == "completed");
    assert_readable(&end, "job_12345");
    assert_eq!((&end["stage"], &end["progress"]), (&json!("complete"), &json!(1.0)));
    assert_eq!(end["message"], "Job completed");
    assert_eq!(end["result"]["video_url"], "https://cdn.example.com/video.mp4");
    assert_eq!(stored(&server, "job_status:job_12345"), Some(end));
    reporter.close();
    notices.assert_none();
}

#[test]
fn the_old_names_write_the_old_messages() {
    let server = Server::start();
    let mut subscriber = Subscriber::of(&server, "a");
    let progress = ProgressReporter::new(&server.url()).unwrap();
    progress.initialize();
    assert_eq!(progress.get_status("a"), None);
    progress.report("a", "rendering", 0.25, "frame 1", json!({"frame": 1}));
    let update = subscriber.next();
    assert_readable(&update, "a");
    assert_eq!(update["metadata"], json!({"frame": 1}));
    assert_eq!(status(&progress, "a"), update);

    progress.report_error("a", "Out of memory", "rendering");
    let end = subscriber.find(|message| message["status"] == "failed");
    assert_readable(&end, "a");
    assert_eq!((&end["stage"], &end["progress"]), (&json!("rendering"), &json!(0.0)));
    assert_eq!(end["message"], "Error: Out of memory");
    assert_eq!(end["error"], "Out of memory");
    progress.close();
}

#[test]
fn what_a_legacy_worker_left_is_a_status_and_goes_on() {
    let server = Server::start();
    let left = r#"{"job_id":"a","status":"processing","stage":"rendering","progress":0.5,"message":"frame 7","timestamp":"2024-01-01T00:00:00.123456"}"#;
    server.answer(&["SETEX", "job_status:a", "3600", left]);
    let progress = ProgressReporter::new(&server.url()).unwrap();
    let state = status(&progress, "a");
    assert_eq!((&state["message"], &state["progress"]), (&json!("frame 7"), &json!(0.5)));
    progress.report_complete("a", json!({"url": "u"}), "Job completed");
    progress.close();
    let end = wait_for(&server, "a", |state| state["status"] == "completed");
    assert_eq!(end["result"], json!({"url": "u"}));
}

#[test]
fn get_status_works_in_async_programs_and_without_a_server() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let progress = ProgressReporter::new(&server.url()).unwrap();
        progress.report("a", "rendering", 0.5, "", None::<()>);
        assert_eq!(status(&progress, "a")["stage"], "rendering");
        progress.close();
    });
    server.freeze();
    let progress = ProgressReporter::new(&server.url()).unwrap();
    assert_eq!(progress.get_status("a"), None);
    server.thaw();
}
