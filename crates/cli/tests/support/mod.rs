//! A real server in this process, and the real binary beside it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it, and all of it is test code"
)]

use std::fs;
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use milepost_server::Config;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Nothing here takes as long, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A free port of this machine.
pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub struct Server {
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start() -> Self {
        Self::on(any_port(), Config::default())
    }

    pub fn on(address: SocketAddr, config: Config) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let config = Config { drain_period: 0.0, grace_period: 1.0, ..config };
        let task = runtime.spawn(async move {
            milepost_server::run(config, listener, async { drop(stopped.await) }).await.unwrap();
        });
        Self { runtime: Some(runtime), stop: Some(stop), task: Some(task), address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        let mut answer = ureq::get(format!("{}{path}", self.url())).call().ok()?;
        Some(serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
    }

    /// The job's state.
    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/jobs/{id}")).unwrap_or_else(|| panic!("{id} is not known"))
    }

    /// Its latest states, oldest first.
    pub fn history(&self, id: &str) -> Vec<Value> {
        let mut answer = self.get(&format!("/jobs/{id}/history")).unwrap();
        serde_json::from_value(answer["states"].take()).unwrap()
    }

    pub fn report(&self, id: &str, update: &str) {
        ureq::post(format!("{}/jobs/{id}", self.url())).send(update).unwrap();
    }

    /// The binary, with this server in its environment.
    pub fn milepost(&self, arguments: &[&str]) -> Command {
        let mut command = milepost(arguments);
        command.env("MILEPOST_URL", self.url());
        command
    }

    pub fn stop(mut self) -> SocketAddr {
        self.shut_down();
        self.address
    }

    fn shut_down(&mut self) {
        self.stop.take();
        if let (Some(runtime), Some(task)) = (self.runtime.take(), self.task.take()) {
            runtime.block_on(task).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.shut_down();
        }
    }
}

/// The binary, without a server that could answer.
pub fn milepost(arguments: &[&str]) -> Command {
    let mut command = isolated(env!("CARGO_BIN_EXE_milepost"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("MILEPOST_URL", "http://127.0.0.1:1");
    command
}

/// What became of it; kills it if it hangs.
pub fn finish(mut child: Child) -> Output {
    let mut drain = Vec::new();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as _),
        child.stderr.take().map(|s| Box::new(s) as _),
    ];
    for stream in streams {
        drain.push(thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut bytes).unwrap();
            }
            bytes
        }));
    }
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut streams = drain.into_iter().map(|thread| thread.join().unwrap());
    Output { status, stdout: streams.next().unwrap(), stderr: streams.next().unwrap() }
}

pub fn run(command: &mut Command) -> Output {
    finish(command.spawn().unwrap())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits until it is so.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What the stream says up to those words, and perhaps some more, in whole characters. It fails if they do not come.
pub fn read_until(stream: &mut (impl Read + AsFd), words: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        wait_readable(stream, deadline).unwrap_or_else(|| {
            panic!("it did not say {words:?}, but {:?}", String::from_utf8_lossy(&bytes))
        });
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "it ended before it said {words:?}: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..n]);
        let is_cut = str::from_utf8(&bytes).is_err_and(|error| error.error_len().is_none());
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(words) && !is_cut {
            return text.into_owned();
        }
    }
}

/// Waits until a terminal that shows the stream has those words on it. Spaces at the end of a line
/// do not count: they are what is left of a longer line that was there before.
pub fn screen_until(stream: &mut (impl Read + AsFd), terminal: &mut vt100::Parser, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    loop {
        let lines = terminal.screen().rows(0, terminal.screen().size().1);
        let shown = lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
        if shown.contains(words) {
            return;
        }
        wait_readable(stream, deadline).unwrap_or_else(|| panic!("no {words:?} on {shown}"));
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "it ended before it showed {words:?}: {shown}");
        terminal.process(&buffer[..n]);
    }
}

/// Holds a shell's script up until the test has seen what it waits for.
pub struct Gate {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Gate {
    pub fn closed() -> Self {
        let (folder, path) = temporary();
        Self { _folder: folder, path: path.join("open") }
    }

    /// What the script says to wait here.
    pub fn wait(&self) -> String {
        format!("until [ -e {} ]; do sleep 0.05; done", self.path.display())
    }

    pub fn open(&self) {
        fs::write(&self.path, "").unwrap();
    }
}

/// Writes a program. Another process does it: while a file is open for writing, it cannot be run, and what another test starts at
/// that moment inherits what is open here.
pub fn write_program(path: &Path, content: &[u8]) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    install.stdin.take().unwrap().write_all(content).unwrap();
    assert!(install.wait().unwrap().success());
}

/// Waits until there is something to read, or the end. None if the deadline passed.
fn wait_readable(stream: &impl AsFd, deadline: Instant) -> Option<()> {
    let left = deadline.checked_duration_since(Instant::now())?;
    let timeout = Timespec::try_from(left).unwrap();
    let mut polled = [PollFd::new(stream, PollFlags::IN)];
    (poll(&mut polled, Some(&timeout)).unwrap() > 0).then_some(())
}

/// Sends a signal, as `kill -NAME` does.
pub fn kill(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// The child of that process that runs `name`, once it has one.
pub fn child_of(pid: u32, name: &str) -> u32 {
    eventually("it has a child", || {
        // A child is its parent's thread's.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let children: String = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
            .collect();
        children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
            fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm.trim() == name)
        })
    })
}

/// These tests need what `cargo xtask setup` installs.
pub fn require(program: &str) {
    let found = Command::new(program)
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    assert!(found, "{program} is not installed; `cargo xtask setup` installs it");
}

/// Runs a shell's line on a terminal of its own. What is written to its stdin is typed there.
pub fn on_terminal(line: &str) -> Command {
    let mut command = isolated("script");
    command
        .args(["-qefc", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // `script` asks it for the shell: the tests have the same one wherever they run.
    command.env("TERM", "xterm").env("SHELL", "/bin/sh");
    command
}

/// The program, unaffected by how the tests were started: no signal is ignored (a shell without job control and `nohup`
/// ignore SIGINT, which is inherited), and no variable that Milepost reads is set (CI systems set `CI`).
fn isolated(program: &str) -> Command {
    // By its path: a test may give the binary a PATH without anything.
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=INT,QUIT,HUP,TERM", program]);
    for (name, _) in std::env::vars_os() {
        let is_read = name.to_string_lossy().starts_with("MILEPOST_")
            || ["PORT", "HOST", "REDIS_URL", "CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"]
                .iter()
                .any(|read| name == *read);
        if is_read {
            command.env_remove(name);
        }
    }
    command
}

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_milepost")
}

pub fn temporary() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}
