//! What a server's processes cost, as the kernel counts it (`proc(5)`).

use std::fs;
use std::io;
use std::time::Duration;

/// Memory in user space of a process and its children, in bytes. The kernel's own (socket buffers, about
/// 4 KiB for each socket) is in none of these.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident pages, shared ones counted in full in each process.
    pub(crate) rss: u64,
    /// Resident pages, shared ones divided among those that share them. The one to compare by.
    pub(crate) pss: u64,
}

/// User and system time of a process, its threads and its children so far, to a hundredth of a second.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    tree(pid).into_iter().map(own_cpu).sum()
}

/// The same for one process, without its children.
pub(crate) fn own_cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed /proc/<pid>/stat");
    // The name, in brackets, may hold anything; what follows its last bracket starts with field 3.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(malformed)?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = 0_u64;
    for _ in 0..2 {
        let field = fields.next().and_then(|field| field.parse::<u64>().ok());
        ticks += field.ok_or_else(malformed)?;
    }
    Ok(Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second())))
}

/// Memory of a process and its children.
pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let mut memory = Memory::default();
    for pid in tree(pid) {
        for line in fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?.lines() {
            let mut words = line.split_ascii_whitespace();
            let into = match words.next() {
                Some("Rss:") => &mut memory.rss,
                Some("Pss:") => &mut memory.pss,
                _ => continue,
            };
            *into += words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024;
        }
    }
    Ok(memory)
}

/// The process and everything that it started, itself first.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(
                children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    pids
}
