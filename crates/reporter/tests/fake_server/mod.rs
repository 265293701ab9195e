//! A Milepost server that can be made to fail: real sockets, and as much of HTTP/1.1 as it takes.

#![allow(dead_code, reason = "each binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fault in here fails the test")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use milepost_redis_servers::free_port;
use serde_json::{Value, json};

/// Nothing here takes as long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does with requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// What a server should.
    Serve,
    /// It reads the request and never answers.
    Hang,
    /// It closes the connection instead of an answer.
    HangUp,
    /// It closes a connection instead of a second answer, as when a request crosses a timeout of idleness.
    HangUpOnTheSecond,
    /// It answers 200 with something else.
    Garbage,
    /// Another program answers with this status.
    Foreign(u16),
    /// It takes no batches.
    BatchRejected,
    /// It takes no update larger than so many bytes, and no larger batch.
    Limit(usize),
    /// It redirects every request to this address.
    Redirect { status: u16, to: String },
    /// It answers with this problem; in a batch, for each update.
    Problem { name: &'static str, status: u16, retry_after: Option<u64> },
}

#[derive(Debug)]
pub(crate) struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    stopped: bool,
    /// Accepted, in order.
    updates: Vec<Value>,
    ends: HashMap<(String, u64), Value>,
    requests: Vec<(String, usize)>,
    /// Lines of jobs' logs, in order.
    log: Vec<(String, Value)>,
    connections: Vec<TcpStream>,
}

impl FakeServer {
    pub(crate) fn start() -> Self {
        let listener = (0..100).find_map(|_| TcpListener::bind(("127.0.0.1", free_port())).ok());
        Self::on(listener.expect("a free port"))
    }

    /// At the address of one that has stopped. No connection gets such a port meanwhile.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).expect("the port is free"))
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                mode: Mode::Serve,
                stopped: false,
                updates: Vec::new(),
                ends: HashMap::new(),
                requests: Vec::new(),
                log: Vec::new(),
                connections: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn with_mode(mode: Mode) -> Self {
        let server = Self::start();
        server.set_mode(mode);
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.shared.state.lock().unwrap().mode = mode;
        self.shared.changed.notify_all();
    }

    /// The updates that were accepted, of one job.
    pub(crate) fn updates(&self, job: &str) -> Vec<Value> {
        let state = self.shared.state.lock().unwrap();
        state.updates.iter().filter(|update| update["job_id"] == job).cloned().collect()
    }

    /// The jobs whose ends were accepted, in order.
    pub(crate) fn ended(&self) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let ends = state.updates.iter().filter(|update| update["status"] == "completed");
        ends.map(|update| update["job_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Paths of the requests so far, and how many updates they had.
    pub(crate) fn requests(&self) -> Vec<(String, usize)> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// The texts of the lines of a job's log, once there are so many.
    pub(crate) fn wait_for_log(&self, job: &str, count: usize) -> Vec<String> {
        self.wait_until(|state| {
            let lines = state.log.iter().filter(|(of, _)| of == job);
            let texts: Vec<_> = lines.filter_map(|(_, line)| line["text"].as_str()).collect();
            (texts.len() >= count).then(|| texts.into_iter().map(str::to_owned).collect())
        })
    }

    /// Waits until a job's latest update is as wanted, and returns it.
    pub(crate) fn wait_for(&self, job: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until(|state| {
            state.updates.iter().rfind(|u| u["job_id"] == job).filter(|u| wanted(u)).cloned()
        })
    }

    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.wait_until(|state| (state.requests.len() >= count).then_some(()));
    }

    fn wait_until<T>(&self, mut found: impl FnMut(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(value) = found(&state) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it did not come: {:#?}", state.updates);
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Dies: every connection is cut, and nobody listens. Returns where it was.
    pub(crate) fn stop(mut self) -> SocketAddr {
        self.shut();
        self.address
    }

    fn shut(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.stopped = true;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shut();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for connection in listener.incoming() {
        let connection = connection.unwrap();
        let mut state = shared.state.lock().unwrap();
        if state.stopped {
            break;
        }
        state.connections.push(connection.try_clone().unwrap());
        drop(state);
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            let mut served = 0;
            while serve_one(&connection, served, &shared).is_some() {
                served += 1;
            }
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Reads one request and answers it; none: the connection is over.
fn serve_one(connection: &TcpStream, served: usize, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let lines: Vec<Value> = String::from_utf8(body)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).expect("the reporter sends JSON"))
        .collect();

    let mut state = shared.state.lock().unwrap();
    if state.stopped {
        return None;
    }
    state.requests.push((path.clone(), lines.len()));
    let mode = state.mode.clone();
    let answer = match mode {
        Mode::Hang => {
            shared.changed.notify_all();
            let _held = shared.changed.wait_while(state, |state| !state.stopped).unwrap();
            return None;
        }
        Mode::HangUp => None,
        Mode::HangUpOnTheSecond if served > 0 => None,
        Mode::Garbage => Some(http(200, None, "<html>Welcome to nginx!</html>")),
        Mode::Foreign(status) => Some(http(status, None, "<html>Welcome to nginx!</html>")),
        Mode::BatchRejected if path == "/updates" => {
            Some(http(413, None, &problem("batch-too-large", 413).to_string()))
        }
        Mode::Limit(limit) if length > limit && path == "/updates" => {
            Some(http(413, None, &problem("batch-too-large", 413).to_string()))
        }
        Mode::Limit(limit) if length > limit => {
            Some(http(413, None, &problem("update-too-large", 413).to_string()))
        }
        Mode::Redirect { status, ref to } => {
            let location = format!("Location: {to}{path}\r\nContent-Length: 0\r\n\r\n");
            Some(format!("HTTP/1.1 {status} Elsewhere\r\n{location}"))
        }
        Mode::Problem { name, status, retry_after } => Some(if path == "/updates" {
            http(200, None, &format!("{}\n", problem(name, status)).repeat(lines.len()))
        } else {
            http(status, retry_after, &problem(name, status).to_string())
        }),
        Mode::Serve | Mode::BatchRejected | Mode::Limit(_) | Mode::HangUpOnTheSecond
            if method == "GET" =>
        {
            let job = path.split('/').nth(2).unwrap_or_default();
            Some(match state.updates.iter().rfind(|update| update["job_id"] == job) {
                Some(update) => http(200, None, &update.to_string()),
                None => http(404, None, &problem("unknown-job", 404).to_string()),
            })
        }
        Mode::Serve | Mode::BatchRejected | Mode::Limit(_) | Mode::HangUpOnTheSecond
            if path.ends_with("/log") =>
        {
            Some(state.append_log(&path, lines))
        }
        Mode::Serve | Mode::BatchRejected | Mode::Limit(_) | Mode::HangUpOnTheSecond => {
            Some(if path == "/updates" {
                let outcomes: Vec<String> =
                    lines.into_iter().map(|update| state.fold(update).to_string() + "\n").collect();
                http(200, None, &outcomes.concat())
            } else {
                let job = lines[0]["job_id"].as_str().unwrap();
                assert_eq!(path, format!("/jobs/{job}"));
                let outcome = state.fold(lines[0].clone());
                let status = outcome["status"].as_u64().unwrap_or(200);
                http(u16::try_from(status).unwrap(), None, &outcome.to_string())
            })
        }
    };
    drop(state);
    let sent = answer.and_then(|answer| {
        let mut to = connection;
        to.write_all(answer.as_bytes()).ok()
    });
    shared.changed.notify_all();
    if sent.is_none() {
        let _ = connection.shutdown(Shutdown::Both);
    }
    sent
}

impl State {
    fn append_log(&mut self, path: &str, lines: Vec<Value>) -> String {
        let job = path.split('/').nth(2).unwrap_or_default();
        if !self.updates.iter().any(|update| update["job_id"] == job) {
            return http(404, None, &problem("unknown-job", 404).to_string());
        }
        self.log.extend(lines.into_iter().map(|line| (job.to_owned(), line)));
        http(200, None, &json!({"job_id": job, "next": "a-1", "dropped": 0}).to_string())
    }

    /// The first end of an attempt wins; the very same again is repeated.
    fn fold(&mut self, update: Value) -> Value {
        let job = update["job_id"].as_str().unwrap().to_owned();
        let attempt = update["attempt"].as_u64().unwrap_or(1);
        let answer = json!({"job_id": job, "attempt": attempt, "position": "a-1"});
        match self.ends.get(&(job.clone(), attempt)) {
            Some(end) if *end == update => return answer,
            Some(_) => return problem("attempt-ended", 409),
            None => {}
        }
        if matches!(update["status"].as_str(), Some("completed" | "failed" | "cancelled")) {
            self.ends.insert((job, attempt), update.clone());
        }
        self.updates.push(update);
        answer
    }
}

fn problem(name: &str, status: u16) -> Value {
    json!({
        "type": format!("urn:milepost:problem:{name}"),
        "title": name, "status": status, "detail": format!("the detail of {name}"),
    })
}

fn http(status: u16, retry_after: Option<u64>, body: &str) -> String {
    let retry_after = retry_after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
    format!("HTTP/1.1 {status} So\r\n{retry_after}Content-Length: {}\r\n\r\n{body}", body.len())
}
