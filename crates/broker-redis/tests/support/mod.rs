//! Redis brokers under test.

use std::num::NonZeroUsize;
use std::sync::Arc;

use milepost_broker::SystemClock;
use milepost_broker_contract::{Harness, Settings, eventually};
use milepost_broker_redis::{Address, Redis, Retention};

/// The Redis broker on that server, with the real clock.
pub(crate) async fn redis(
    settings: &Settings,
    url: &str,
    servers: impl Send + Sync + 'static,
) -> Harness {
    let it = redis_unproven(settings, url, servers);
    eventually("Redis is ready", || async { it.broker().probe().await.is_ok() }).await;
    it
}

/// The same, without waiting until it is ready.
pub(crate) fn redis_unproven(
    settings: &Settings,
    url: &str,
    servers: impl Send + Sync + 'static,
) -> Harness {
    let retention = Retention {
        history: NonZeroUsize::new(settings.history).expect("a history of one state or more"),
        ttl: settings.ttl,
        ttl_after_end: settings.ttl_after_end,
        ..Retention::default()
    };
    let address = Address::parse(url).expect("an address");
    let broker = Arc::new(Redis::new(address, retention, Arc::new(SystemClock::default())));
    Harness::new(broker, std::thread::sleep, Some(Box::new(servers)))
}
