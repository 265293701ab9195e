//! How much one client may do, so that it leaves something for the others.
//!
//! - [`Limits`]: what an address or a subject did recently, and what it may do.
//! - [`Meter`]: the limits of the client that sends a request.
//! - `connections`: how many connections a client has at a time.
//! - [`TrustedProxies`]: whose address a request has.

pub(crate) mod connections;
mod meter;
mod proxies;
mod rates;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::ProblemType;

use self::connections::{Connections, network};
pub(crate) use self::meter::{Client, Meter};
pub use self::proxies::{ClientAddressHeader, TrustedProxies};
pub(crate) use self::rates::Wait;
use self::rates::{Rate, Rates};
use crate::config::Config;
use crate::config_error::ConfigError;
use crate::response::problem::Refused;

/// What is counted of each address and of each subject.
pub(crate) struct Limits {
    pub(crate) proxies: TrustedProxies,
    pub(crate) addresses: Arc<Connections<IpAddr>>,
    pub(crate) subjects: Arc<Connections<Arc<str>>>,
    of_address: Rates<IpAddr>,
    of_subject: Rates<String>,
}

// The default rates of an address and of a subject, a second; ten times as much at once. A whole fleet often has one
// address or one key, so they are what a healthy fleet does not reach.

/// WebSockets and event streams: when a server restarts, all that a subject may have by default may reconnect at once.
const HANDSHAKES: f64 = 1_000.0;
/// Updates: `docs/scaling.md` plans with as many for each instance.
const REPORTS: f64 = 50_000.0;
const BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// New jobs: by default a job is kept for an hour, and one client at this pace reaches `max_jobs` after 17 minutes.
const JOBS: f64 = 1_000.0;

impl Limits {
    /// # Errors
    /// When `trusted_proxies` are not addresses.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let proxies = TrustedProxies::parse(&config.trusted_proxies, config.client_address_header)?;
        // Behind a proxy that is not known all clients have its address.
        let has_addresses = !proxies.is_empty();
        let address = |rate: Option<f64>, default| rate.or(has_addresses.then_some(default));
        let subject = |rate: Option<f64>, default| Some(rate.unwrap_or(default));
        Ok(Self {
            addresses: Connections::new(config.max_connections_per_address),
            subjects: Connections::new(Some(config.max_connections_per_subject)),
            of_address: Rates::new([
                address(config.handshakes_per_address, HANDSHAKES),
                address(config.reports_per_address, REPORTS),
                address(config.bytes_per_address, BYTES),
                address(config.jobs_per_address, JOBS),
            ]),
            of_subject: Rates::new([
                subject(config.handshakes_per_subject, HANDSHAKES),
                subject(config.reports_per_subject, REPORTS),
                subject(config.bytes_per_subject, BYTES),
                subject(config.jobs_per_subject, JOBS),
            ]),
            proxies,
        })
    }

    /// Whether anything is bounded of each address, besides its connections. Otherwise requests are not held up with it.
    pub(crate) fn count_addresses(&self) -> bool {
        !self.proxies.is_empty() || self.of_address.is_bounded()
    }

    /// A WebSocket or an event stream that an address begins.
    ///
    /// # Errors
    /// `too-many-requests` if it does so too often.
    pub(crate) fn handshake_of(&self, client: IpAddr, now: Duration) -> Result<(), Refused> {
        let outcome = self.of_address.take(Rate::Handshakes, &network(client), 1.0, now);
        outcome.map_err(|wait| refuse("this address begins connections too often", wait))
    }

    /// A WebSocket or an event stream that a subject begins.
    ///
    /// # Errors
    /// `too-many-requests` if it does so too often.
    pub(crate) fn handshake_by(&self, subject: &str, now: Duration) -> Result<(), Refused> {
        let outcome = self.of_subject.take(Rate::Handshakes, subject, 1.0, now);
        outcome.map_err(|wait| refuse("this credential begins connections too often", wait))
    }

    /// How often each limit has refused something: `(limit, of, count)`.
    pub(crate) fn refused(&self) -> [(&'static str, &'static str, u64); 10] {
        let (address, subject) = (&self.of_address, &self.of_subject);
        [
            ("connections", "address", self.addresses.refused()),
            ("connections", "subject", self.subjects.refused()),
            ("handshakes", "address", address.refused(Rate::Handshakes)),
            ("handshakes", "subject", subject.refused(Rate::Handshakes)),
            ("reports", "address", address.refused(Rate::Reports)),
            ("reports", "subject", subject.refused(Rate::Reports)),
            ("bytes", "address", address.refused(Rate::Bytes)),
            ("bytes", "subject", subject.refused(Rate::Bytes)),
            ("jobs", "address", address.refused(Rate::Jobs)),
            ("jobs", "subject", subject.refused(Rate::Jobs)),
        ]
    }
}

fn refuse(detail: &str, wait: Wait) -> Refused {
    Refused::new(ProblemType::TooManyRequests, detail).retry_after(wait.0)
}
