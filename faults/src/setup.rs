//! What surrounds an instance: its settings, and what its system allows it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How an instance is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// The Redis that it uses.
    pub(crate) redis: Option<String>,
    /// Where it keeps states, without Redis.
    pub(crate) data: Option<PathBuf>,
    /// More arguments of `milepost serve`.
    pub(crate) arguments: Vec<String>,
    /// The most open files.
    pub(crate) open_files: Option<usize>,
    /// Its folder is a file system of its own, with this many bytes.
    pub(crate) disk: Option<usize>,
    /// The key that it asks for.
    pub(crate) key: Option<&'static str>,
    /// Where its log goes.
    pub(crate) log: LogTo,
}

/// Where an instance's log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogTo {
    /// A file.
    #[default]
    File,
    /// A pipe that is not read.
    FullPipe,
    /// A pipe whose reader is gone.
    BrokenPipe,
    /// A device without room.
    FullDevice,
}

impl Setup {
    /// Sets one of the server's settings.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.arguments.extend(["--set".to_owned(), format!("{name}={value}")]);
    }

    /// `binary serve` with its arguments, as a process that keeps its number.
    pub(crate) fn command(&self, binary: &Path, listen: &str) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let (Some(bytes), Some(data)) = (self.disk, &self.data) {
            // A mount of its own, which takes no rights where user namespaces are allowed.
            let mount = format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\" && exec \"$@\"");
            words.extend(["unshare", "--map-root-user", "--mount", "sh", "-c"].map(str::to_owned));
            words.extend([mount, data.display().to_string()]);
        }
        if let Some(files) = self.open_files {
            words.extend(["sh".into(), "-c".into(), format!("ulimit -n {files} && exec \"$@\"")]);
            words.push("sh".into());
        }
        let log = match self.log {
            LogTo::File => None,
            // Its own end for reading is never read.
            LogTo::FullPipe => Some(
                "pipe=$(mktemp -u) && mkfifo $pipe && exec 2<>$pipe && rm $pipe && exec \"$@\"",
            ),
            LogTo::BrokenPipe => Some("exec \"$@\" 2> >(exec head -n 1 >/dev/null)"),
            LogTo::FullDevice => Some("exec \"$@\" 2>/dev/full"),
        };
        if let Some(log) = log {
            words.extend(["bash", "-c", log, "bash"].map(str::to_owned));
        }
        words.push(binary.display().to_string());
        words.extend(["serve", "--listen", listen].map(str::to_owned));
        if let Some(data) = &self.data {
            words.extend(["--data-dir".into(), data.display().to_string()]);
        }
        if let Some(key) = self.key {
            words.extend(["--set".to_owned(), format!("key={key}")]);
        }
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(url) = &self.redis {
            command.env("REDIS_URL", url);
        }
        command
    }
}
