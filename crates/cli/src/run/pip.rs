//! pip draws no progress into a pipe unless an environment variable asks for it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable and the value that make pip print `Progress X of Y`.
pub(super) const RAW: (&str, &str) = ("PIP_PROGRESS_BAR", "raw");

/// How long `pip --version` may take: the command waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether this command is a pip that knows [`RAW`], which came with 24.1; an older one refuses to start with it.
pub(super) fn knows_raw(program: &OsStr, arguments: &[OsString]) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let mut command = Command::new(program);
    if name.starts_with("python")
        && arguments.first().is_some_and(|a| a == "-m")
        && arguments.get(1).is_some_and(|a| a == "pip")
    {
        command.args(["-m", "pip"]);
    } else if !name
        .strip_prefix("pip")
        .is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    {
        return false;
    }
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let deadline = Instant::now() + PATIENCE;
    while let Ok(None) = child.try_wait() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child
        .wait_with_output()
        .is_ok_and(|output| is_new_enough(&String::from_utf8_lossy(&output.stdout)))
}

/// `pip 24.1 from /usr/lib/python3/dist-packages/pip (python 3.11)`.
fn is_new_enough(version: &str) -> bool {
    let mut numbers =
        version.strip_prefix("pip ").unwrap_or("").split(['.', ' ']).map(|n| n.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(major), Some(minor)) if (major, minor) >= (24, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert!(is_new_enough("pip 24.1 from x") && is_new_enough("pip 26.3.1 from x"));
        for old in ["pip 23.2.1 from x", "pip 24.0 from x", "", "pip", "something else 30.1"] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[test]
    fn other_commands_are_not_run() {
        assert!(
            !knows_raw(OsStr::new("pipe"), &[])
                && !knows_raw(OsStr::new("python3"), &["pip".into()])
        );
    }
}
