//! How much memory the process may use if the configuration does not set it.

use std::fs;
use std::path::{Path, PathBuf};

/// If nothing else is known.
const FALLBACK: usize = 1 << 30;

/// Three quarters of the cgroup's limit, if there is one: the rest is for the kernel, which counts the buffers of
/// sockets there too. Otherwise half of the machine's memory.
pub(crate) fn detect() -> usize {
    detect_below(Path::new("/"))
}

fn detect_below(root: &Path) -> usize {
    let physical = read_physical(root);
    // A limit above the machine's memory has no effect.
    let cgroup =
        read_cgroup(root).filter(|limit| physical.is_none_or(|physical| *limit < physical));
    let limit = cgroup.map(|limit| limit / 4 * 3).or(physical.map(|physical| physical / 2));
    limit.unwrap_or(FALLBACK)
}

/// The lowest limit of the process' cgroup and of those above it; version 2, or else version 1.
fn read_cgroup(root: &Path) -> Option<usize> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mount = root.join(mount);
        let mut group: PathBuf = path.trim_start_matches('/').into();
        loop {
            let text = fs::read_to_string(mount.join(&group).join(file));
            limits.extend(text.ok().and_then(|text| text.trim().parse::<usize>().ok()));
            if !group.pop() {
                break;
            }
        }
    }
    limits.into_iter().min()
}

fn read_physical(root: &Path) -> Option<usize> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: usize = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> usize {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        detect_below(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn half_of_the_machine_without_a_cgroup() {
        assert_eq!(machine(&[MEMINFO]), 4 << 30);
        assert_eq!(machine(&[]), FALLBACK);
    }

    #[test]
    fn three_quarters_of_the_lowest_cgroup_limit() {
        let own = ("proc/self/cgroup", "0::/a/b\n");
        let max = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        let parent = ("sys/fs/cgroup/a/memory.max", "1073741824\n");
        assert_eq!(machine(&[MEMINFO, own, max, parent]), 768 << 20);
        // As a container sees its own cgroup.
        let inside = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "536870912\n")];
        assert_eq!(machine(&[MEMINFO, inside[0], inside[1]]), 384 << 20);
        assert_eq!(machine(&[MEMINFO, own, max]), 4 << 30);
    }

    #[test]
    fn version_1_has_a_limit_beyond_everything_for_none() {
        let own = ("proc/self/cgroup", "4:cpu,memory:/a\n3:pids:/a\n");
        let limit = |text| ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", text);
        assert_eq!(machine(&[MEMINFO, own, limit("536870912")]), 384 << 20);
        assert_eq!(machine(&[MEMINFO, own, limit("9223372036854771712")]), 4 << 30);
    }
}
