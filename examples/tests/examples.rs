//! Each example runs as a process of its own against a real server, and what the server then knows of its
//! jobs is looked at.

#![allow(clippy::unwrap_used, reason = "a fault in here fails the test")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let (tell_address, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell_address.send(listener.local_addr().unwrap()).unwrap();
                let config = milepost_server::Config {
                    drain_period: 0.0,
                    ..milepost_server::Config::default()
                };
                let shutdown = async {
                    let _ = stopped.await;
                };
                milepost_server::run(config, listener, shutdown).await.unwrap();
            });
        });
        Self { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("MILEPOST_URL", format!("http://{}", self.address));
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    fn get(&self, path: &str) -> Value {
        let body = ureq::get(format!("http://{}{path}", self.address)).call().unwrap();
        serde_json::from_reader(body.into_body().into_reader()).unwrap()
    }

    fn state(&self, job: &str) -> Value {
        self.get(&format!("/jobs/{job}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(state: &Value, wanted: &Value) {
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&state[field], value, "{field} of {state:#}");
    }
}

#[test]
fn video_rendering_ends_with_a_film() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let output = server
        .command(env!("CARGO_BIN_EXE_video_rendering"))
        .args(["film", "12"])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let state = server.state("film");
    has(&state, &json!({"status": "completed", "stage": "complete", "progress": 1.0}));
    has(&state["metadata"], &json!({"current": 12, "total": 12, "unit": "frames"}));
    let film = std::fs::read(state["result"]["video"].as_str().unwrap()).unwrap();
    assert_eq!(state["result"]["bytes"], film.len());
    assert!(film.starts_with(b"YUV4MPEG2 W160 H90 "));
    assert!(film.len() > 12 * 160 * 90);
}

#[test]
fn video_rendering_that_cannot_write_says_why() {
    let server = Server::start();
    let output = server
        .command(env!("CARGO_BIN_EXE_video_rendering"))
        .args(["film", "12"])
        .env("TMPDIR", "/nowhere/at/all")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let state = server.state("film");
    has(&state, &json!({"status": "failed", "stage": "rendering"}));
    assert!(state["error"].as_str().unwrap().contains("No such file"), "{state:#}");
}

#[test]
fn ai_pipeline_goes_through_its_stages() {
    let server = Server::start();
    server.run(env!("CARGO_BIN_EXE_ai_pipeline"), &["picture"]);
    let state = server.state("picture");
    has(&state, &json!({"status": "completed", "stage": "complete", "progress": 1.0}));
    has(
        &state["result"],
        &json!({
            "caption": "A picture in blue and green",
            "crop": {"left": 320, "top": 64, "side": 128},
        }),
    );
    let history = server.get("/jobs/picture/history");
    let states = history["states"].as_array().unwrap();
    let progress: Vec<f64> =
        states.iter().map(|state| state["progress"].as_f64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");
}

#[test]
fn batch_completes_each_video_and_the_whole() {
    let server = Server::start();
    server.run(env!("CARGO_BIN_EXE_batch"), &["night", "5"]);
    has(&server.state("night"), &json!({"status": "completed", "result": {"videos": 5}}));
    for n in 1..=5 {
        let state = server.state(&format!("night-{n}"));
        has(&state, &json!({"status": "completed", "progress": 1.0}));
        has(&state["metadata"], &json!({"current": 200, "total": 200}));
    }
    assert_eq!(
        server.get("/jobs?prefix=night&status=completed")["jobs"].as_array().unwrap().len(),
        6
    );
}

#[test]
fn error_handling_tells_each_failure() {
    let server = Server::start();
    server.run(env!("CARGO_BIN_EXE_error_handling"), &["e"]);
    let reported = server.state("e-reported");
    has(&reported, &json!({"status": "failed", "stage": "adding", "progress": 0.5}));
    has(&reported, &json!({"error": "invalid digit found in string"}));
    has(&server.state("e-forgotten"), &json!({"error": "dropped without an outcome"}));
    let panicked = server.state("e-panicked");
    assert!(panicked["error"].as_str().unwrap().contains("panicked"), "{panicked:#}");
    has(&server.state("e-retried"), &json!({"status": "completed", "attempt": 2, "result": 46}));
}

#[test]
fn check_status_reads_what_it_reported() {
    let server = Server::start();
    let output = server.run(env!("CARGO_BIN_EXE_check_status"), &["primes"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "primes: not known");
    assert!(lines[1].starts_with("primes: \"processing\" at 0.6"), "{text}");
    assert!(lines[2].starts_with("primes: \"completed\" at 1.0"), "{text}");
    has(
        &server.state("primes"),
        &json!({"result": {"primes": 17_984}, "message": "Job completed"}),
    );
}

#[test]
fn http_endpoint_answers_at_once_and_its_job_completes() {
    let server = Server::start();
    let mut endpoint = server.command(env!("CARGO_BIN_EXE_http_endpoint"));
    let endpoint = endpoint.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let mut endpoint = Running(endpoint);
    let mut url = String::new();
    BufReader::new(endpoint.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let answer = ureq::post(url.trim()).send_empty().unwrap();
    let answer: Value = serde_json::from_reader(answer.into_body().into_reader()).unwrap();
    let job = answer["job_id"].as_str().unwrap();
    assert_eq!(answer["status"], "queued");
    assert_eq!(answer["websocket_url"], format!("/ws/jobs/{job}"));
    assert!(answer["message"].is_string());

    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // The server holds the answer until it knows the job.
        let state = server.get(&format!("/jobs/{job}?wait=10"));
        if state["status"] == "completed" {
            assert_eq!(state["metadata"]["total"], 500);
            break;
        }
        assert!(Instant::now() < deadline, "{state:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_a_server_named_an_example_does_its_work_all_the_same() {
    let output = Command::new(env!("CARGO_BIN_EXE_ai_pipeline"))
        .env_remove("MILEPOST_URL")
        .env_remove("REDIS_URL")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("blue and green"));
}
