//! The memory of this process: what the system knows of it, and when jemalloc gives it back.

use std::fs;

use milepost_server::ProcessMemory;
use tikv_jemalloc_ctl::{Access, AsName};

/// jemalloc's time for which it keeps freed memory, in milliseconds. A negative one is for ever.
const KEEPS: &str = "dirty_decay_ms";

/// The binary's allocator: `docs/decisions/0003-allocator.md`.
pub(super) struct Jemalloc {
    /// For how long it keeps freed memory while there is enough. None if it does not say; then nothing is changed.
    keeps: Option<isize>,
}

impl Jemalloc {
    /// Also has one thread, not one for each arena, give memory back while the process is idle.
    pub(super) fn new() -> Self {
        // Where jemalloc has no such threads, it refuses.
        let _ = "max_background_threads\0".name().write(1_usize);
        Self { keeps: format!("arenas.{KEEPS}\0").name().read().ok() }
    }
}

impl ProcessMemory for Jemalloc {
    fn resident(&self) -> Option<usize> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: usize = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    }

    fn give_back_at_once(&self, at_once: bool) {
        let Some(keeps) = self.keeps else { return };
        let time = if at_once { 0 } else { keeps };
        let arenas: u32 = "arenas.narenas\0".name().read().unwrap_or(0);
        // Those to come, and those that are there. An arena that nobody has used yet is not there, and refuses the change.
        let _ = format!("arenas.{KEEPS}\0").name().write(time);
        for arena in 0..arenas {
            let _ = format!("arena.{arena}.{KEEPS}\0").name().write(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_is_that_of_a_process() {
        let resident = Jemalloc::new().resident().expect("the system says");
        assert!((1 << 20..1 << 40).contains(&resident), "{resident}");
    }

    #[test]
    fn freed_memory_is_given_back_at_once_until_it_is_not() {
        let time =
            || -> isize { "arena.0.dirty_decay_ms\0".name().read().expect("jemalloc answers") };
        let (jemalloc, before) = (Jemalloc::new(), time());
        assert_ne!(before, 0);
        jemalloc.give_back_at_once(true);
        assert_eq!(time(), 0);
        jemalloc.give_back_at_once(false);
        assert_eq!(time(), before);
    }
}
