//! The contract of [`Broker`](milepost_broker::Broker), run by the embedded broker in memory and on disk.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use milepost_broker::ManualClock;
use milepost_broker_contract::{Harness, Settings, children_contract, contract, health_contract};
use milepost_broker_embedded::{Embedded, Limits};
use tempfile::TempDir;

async fn in_memory(settings: Settings) -> Harness {
    embedded(&settings, None)
}

async fn on_disk(settings: Settings) -> Harness {
    let directory = tempfile::tempdir().expect("a directory for the test");
    embedded(&settings, Some(directory))
}

/// The embedded broker with a clock that the case moves.
fn embedded(settings: &Settings, directory: Option<TempDir>) -> Harness {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_780_000_000)));
    let limits = Limits {
        history: NonZeroUsize::new(settings.history).expect("a history of one state or more"),
        ttl: settings.ttl,
        ttl_after_end: settings.ttl_after_end,
        ..Limits::default()
    };
    let embedded = Arc::new(match &directory {
        None => Embedded::with_clock(limits, clock.clone()),
        Some(directory) => {
            Embedded::open(limits, clock.clone(), directory.path()).expect("an empty directory")
        }
    });
    let pass = {
        let embedded = Arc::clone(&embedded);
        move |by| {
            clock.advance(by);
            embedded.expire();
            embedded.check_clocks();
            embedded.roll_up();
        }
    };
    Harness::new(embedded, pass, directory.map(|directory| Box::new(directory) as _))
}

contract!(embedded_in_memory, crate::in_memory);
contract!(embedded_on_disk, crate::on_disk);
children_contract!(embedded_children, crate::in_memory);
children_contract!(embedded_children_on_disk, crate::on_disk);
health_contract!(embedded_health, crate::in_memory);
health_contract!(embedded_health_on_disk, crate::on_disk);
