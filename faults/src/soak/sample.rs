//! What an instance uses, before and after.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::abuse;
use crate::failure::Failure;
use crate::http::Connection;
use crate::instance::Instance;
use crate::process::Held;

/// How often an instance at rest is sampled.
const LOOKS: usize = 10;
/// Resident memory may have grown by this: the allocator keeps some.
const GROWTH: u64 = 32 << 20;

/// What an instance uses, from the system and its own metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    held: Held,
    tasks: u64,
    sockets: u64,
    topics: u64,
    watched: u64,
    /// Bytes of states that its own broker keeps: part of the resident memory, up to their share.
    states: u64,
}

impl Sample {
    /// The lowest of several readings, because the suite repeatedly asks each instance whether it is ready, over short
    /// connections.
    pub(crate) fn of(instance: &Instance, runtime: &Handle) -> Result<Sample, Failure> {
        let mut least = look(instance, runtime)?;
        for _ in 1..LOOKS {
            std::thread::sleep(Duration::from_millis(70));
            least = least.min(look(instance, runtime)?);
        }
        Ok(least)
    }

    /// The lower of each number, except the peak.
    fn min(self, other: Self) -> Self {
        self.with(other, u64::min)
    }

    /// Of two instances together: watchers and workers may move from one to the other.
    pub(crate) fn plus(self, other: Self) -> Self {
        self.with(other, |one, two| one + two)
    }

    /// Combines the numbers of two samples with `join`; of the two peaks, the higher one counts.
    fn with(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        let (one, two) = (self.held, other.held);
        let files = join(one.files as u64, two.files as u64);
        Self {
            held: Held {
                resident: join(one.resident, two.resident),
                peak: one.peak.max(two.peak),
                files: usize::try_from(files).unwrap_or(usize::MAX),
                threads: join(one.threads, two.threads),
            },
            tasks: join(self.tasks, other.tasks),
            sockets: join(self.sockets, other.sockets),
            topics: join(self.topics, other.topics),
            watched: join(self.watched, other.watched),
            states: join(self.states, other.states),
        }
    }

    /// What is wrong if the instances used `before` at the beginning and `self` now. They can have at most `topics`.
    pub(crate) fn wrongs(&self, before: &Self, topics: usize) -> Vec<String> {
        let topics = topics as u64;
        let bounds = [
            ("resident memory", self.held.resident, before.held.resident + GROWTH),
            ("the most resident memory", self.held.peak, crate::stage::MEMORY),
            ("open files", self.held.files as u64, before.held.files as u64),
            ("threads", self.held.threads, before.held.threads),
            ("tasks", self.tasks, before.tasks),
            ("sockets", self.sockets, before.sockets),
            ("topics", self.topics, topics),
            ("watched jobs", self.watched, topics),
        ];
        let exceeded = bounds.into_iter().filter(|(_, now, bound)| now > bound);
        exceeded.map(|(what, now, bound)| format!("{what}: {now}, may be {bound}")).collect()
    }
}

fn look(instance: &Instance, runtime: &Handle) -> Result<Sample, Failure> {
    // This connection is open until the files are counted, because a busy server may take a while to close it.
    let looking = async {
        let mut connection = Connection::open(instance.address()).await?.with_key(instance.key());
        let metrics = connection.get("/metrics").await?.body;
        Ok::<_, std::io::Error>((connection, metrics))
    };
    let (connection, metrics) =
        runtime.block_on(looking).map_err(|error| Failure(format!("/metrics: {error}")))?;
    let held = instance.held().ok_or_else(|| Failure("an instance has ended".into()))?;
    drop(connection);
    let number = |name| {
        abuse::metric(&metrics, name).ok_or_else(|| Failure(format!("/metrics has no {name}")))
    };
    Ok(Sample {
        held,
        tasks: number("milepost_tasks")?,
        sockets: number("milepost_open_sockets")?,
        topics: number("milepost_topics")?,
        watched: number("milepost_watched_jobs")?,
        states: number("milepost_broker_bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instance with that many connections, each of which is a file, a socket and a task.
    fn instance(connections: u64) -> Sample {
        let held = Held {
            resident: 40 << 20,
            peak: 100 << 20,
            files: 18 + usize::try_from(connections).unwrap(),
            threads: 6,
        };
        let (tasks, sockets) = (8 + connections, connections);
        Sample { held, tasks, sockets, topics: 20, watched: 20, states: 1 << 20 }
    }

    #[test]
    fn connections_may_move_between_instances() {
        let before = instance(29).plus(instance(21));
        assert_eq!(instance(26).plus(instance(24)).wrongs(&before, 40), Vec::<String>::new());
        let wrongs = instance(27).plus(instance(24)).wrongs(&before, 40);
        assert_eq!(
            wrongs,
            ["open files: 87, may be 86", "tasks: 67, may be 66", "sockets: 51, may be 50"]
        );
    }

    #[test]
    fn each_instance_has_the_memory_limit_for_itself() {
        let mut high = instance(1);
        high.held.peak = crate::stage::MEMORY;
        let both = instance(1).plus(instance(1));
        assert!(high.plus(high).wrongs(&both, 40).is_empty());
        high.held.peak += 1;
        assert_eq!(high.plus(instance(1)).wrongs(&both, 40).len(), 1);
        assert_eq!(high.min(instance(1)).held.peak, high.held.peak);
    }

    #[test]
    fn memory_may_grow_and_topics_may_come() {
        let (before, mut now) = (instance(1), instance(1));
        now.held.resident += GROWTH;
        now.topics = 21;
        assert!(now.wrongs(&before, 21).is_empty());
        now.held.resident += 1;
        assert_eq!(now.wrongs(&before, 20).len(), 2);
    }
}
