use std::sync::OnceLock;

use redis::Cmd;

/// One of the scripts in `scripts/`.
#[derive(Debug)]
pub struct Script {
    /// The files that make up the script, in order.
    code: &'static [&'static str],
    /// Whether it may write while the server is out of memory, so that jobs can still end.
    allow_oom: bool,
    hash: OnceLock<String>,
    argument_names: OnceLock<Vec<String>>,
}

impl Script {
    const fn new(code: &'static [&'static str]) -> Self {
        Self { code, allow_oom: false, hash: OnceLock::new(), argument_names: OnceLock::new() }
    }

    const fn allow_oom(code: &'static [&'static str]) -> Self {
        Self { code, allow_oom: true, hash: OnceLock::new(), argument_names: OnceLock::new() }
    }

    pub(crate) fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(&self.code()).get_hash().to_owned())
    }

    fn code(&self) -> String {
        let flags = if self.allow_oom { "#!lua flags=allow-oom\n" } else { "" };
        format!("{flags}{}", self.code.concat())
    }

    /// The names that the script gives its arguments, in order: `local <names> = unpack(ARGV…)`. Those of `report.lua` are
    /// inside of its only argument.
    pub(crate) fn argument_names(&self) -> &[String] {
        self.argument_names.get_or_init(|| {
            let code = self.code();
            let line =
                code.lines().find(|line| line.contains(" = unpack(ARGV")).unwrap_or_default();
            let names = line.strip_prefix("local ").and_then(|line| line.split_once(" = "));
            names.map_or_else(Vec::new, |(names, _)| names.split(", ").map(str::to_owned).collect())
        })
    }

    /// The command that makes the server know the script.
    pub fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code());
        command
    }
}

/// The fold of reporters' updates, without the part for legacy workers.
const FOLD: &[&str] = &[
    "local legacy\n",
    include_str!("scripts/attempt.lua"),
    include_str!("scripts/children.lua"),
    include_str!("scripts/pace.lua"),
    include_str!("scripts/timeline.lua"),
    include_str!("scripts/report.lua"),
];
const LEGACY_FOLD: &[&str] = &[
    include_str!("scripts/legacy.lua"),
    include_str!("scripts/attempt.lua"),
    include_str!("scripts/children.lua"),
    include_str!("scripts/pace.lua"),
    include_str!("scripts/timeline.lua"),
    include_str!("scripts/report.lua"),
];

pub(crate) static REPORT: Script = Script::new(FOLD);
pub(crate) static REPORT_END: Script = Script::allow_oom(FOLD);
pub(crate) static LEGACY: Script = Script::new(LEGACY_FOLD);
pub(crate) static LEGACY_END: Script = Script::allow_oom(LEGACY_FOLD);
pub(crate) static SWAP: Script = Script::new(&[include_str!("scripts/swap.lua")]);
pub(crate) static READ: Script = Script::new(&[include_str!("scripts/read.lua")]);
pub(crate) static CLOCK: Script =
    Script::new(&[include_str!("scripts/attempt.lua"), include_str!("scripts/clock.lua")]);
pub(crate) static CLOCK_NEXT: Script = Script::new(&[include_str!("scripts/clock_next.lua")]);
pub(crate) static SILENT: Script =
    Script::new(&[include_str!("scripts/attempt.lua"), include_str!("scripts/silent.lua")]);
pub(crate) static DUE: Script = Script::new(&[include_str!("scripts/due.lua")]);
pub(crate) static FORGET: Script =
    Script::new(&[include_str!("scripts/children.lua"), include_str!("scripts/forget.lua")]);
// Also when the server is out of memory, so that a parent's counts include children that end then.
pub(crate) static CHILD: Script =
    Script::allow_oom(&[include_str!("scripts/children.lua"), include_str!("scripts/child.lua")]);
pub(crate) static EXPIRE: Script = Script::new(&[include_str!("scripts/expire.lua")]);
pub(crate) static LOG_APPEND: Script =
    Script::new(&[include_str!("scripts/log.lua"), include_str!("scripts/log_append.lua")]);
pub(crate) static LOG_READ: Script =
    Script::new(&[include_str!("scripts/log.lua"), include_str!("scripts/log_read.lua")]);
pub(crate) static RUNS: Script = Script::new(&[include_str!("scripts/runs.lua")]);
pub(crate) static PROBE: Script = Script::new(&[include_str!("scripts/probe.lua")]);
