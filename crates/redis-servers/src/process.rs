use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// What the watchdog runs: it sleeps until its input ends, which the kernel sees to when the test's process is gone,
/// however it went. A Ctrl-C in the terminal, which everybody here gets, must not end it before its work is done.
const WATCHDOG: &str = r#"trap "" INT TERM HUP; read -r _; kill -9 "$1"; rm -rf "$2""#;

/// A `redis-server` that does not outlive the test.
#[derive(Debug)]
pub(crate) struct Process {
    server: Child,
    watchdog: Child,
}

impl Process {
    /// Starts `redis-server` with a configuration file, in `folder`, which goes with it if the test is killed. What it
    /// says is added to `folder/log`.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = || -> io::Result<_> {
            let log = File::options().create(true).append(true).open(folder.join("log"))?;
            Ok((log.try_clone()?, log))
        };
        let (out, err) = log().expect("a log can be written in a temporary folder");
        let server = Command::new("redis-server")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    panic!("redis-server is not installed; `cargo xtask setup` installs it")
                }
                _ => panic!("redis-server does not start: {error}"),
            });
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh", &server.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Self { server, watchdog }
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.server.try_wait().expect("a child can be waited for")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.server);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {pid:?}: {error}"));
    }

    /// Waits until it has ended; what was told it to is the caller's business.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.server.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: it must not kill a number that belongs to somebody else by then.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
