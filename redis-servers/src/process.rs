use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The script of the watchdog. It sleeps until its input ends, which the kernel ensures when the test's process ends for any
/// reason. Ctrl-C in the terminal reaches all processes, and must not end the watchdog before its work is done.
const WATCHDOG: &str =
    r#"trap "" INT TERM HUP; read -r _; kill -9 "$1"; [ -z "$2" ] || rm -rf "$2""#;

/// A program that does not outlive the test's process.
#[derive(Debug)]
pub struct Process {
    program: Child,
    watchdog: Child,
}

impl Process {
    /// Starts the program. Its output is appended to the file `log`. If the test's process is killed, the program is killed
    /// too, and `folder`, if given, is removed.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(mut command: Command, log: &Path, folder: Option<&Path>) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut program = command.spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh", &program.id().to_string()])
            .arg(folder.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { program, watchdog }),
            Err(error) => {
                program.kill()?;
                program.wait()?;
                Err(error)
            }
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.program.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal. Panics if the process does not exist.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.program);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {pid:?}: {error}"));
    }

    /// Waits until it has ended. The caller has to stop it.
    pub fn wait(&mut self) -> ExitStatus {
        self.program.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog ends first, because it must not kill another process that reuses the id.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
