use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::connections::{Counted, network};
use super::rates::{Rate, Wait};
use super::refuse;
use crate::access::Grant;
use crate::instance::Instance;
use crate::response::problem::{Outcome, Refused};

/// The client's address, which trusted proxies name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

/// The limits of the client that sends a request to change something, or to begin an event stream.
pub(crate) struct Meter {
    instance: Arc<Instance>,
    client: Option<IpAddr>,
    grant: Grant,
}

/// A client, an address or a subject, began too many jobs recently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooManyJobs {
    wait: Wait,
    of_address: bool,
}

impl Meter {
    /// The limits of a client, if its connection counts addresses, and of its subject.
    pub(crate) fn of(instance: Arc<Instance>, client: Option<Client>, grant: Grant) -> Self {
        Self { instance, client: client.map(|client| client.0), grant }
    }

    /// Whether it may report now, or change something else. This is checked before the body is read. The cost is known
    /// only after that.
    ///
    /// # Errors
    /// `too-many-requests` if it reported too much recently.
    pub(crate) fn admit(&self) -> Outcome<()> {
        if self.is_free() {
            return Ok(());
        }
        self.check(Rate::Reports)
            .map_err(|wait| refuse("this client reports too many updates", wait))?;
        self.check(Rate::Bytes).map_err(|wait| refuse("this client reports too many bytes", wait))
    }

    /// Counts what it reported. What exceeds the limit delays its next report.
    pub(crate) fn spend(&self, reports: usize, bytes: usize) {
        if self.is_free() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a body has fewer than 2^52 bytes")]
        let [reports, bytes] = [reports as f64, bytes as f64];
        self.charge(&[(Rate::Reports, reports), (Rate::Bytes, bytes)]);
    }

    /// Whether it may begin another job now. Updates of jobs that are known are not affected.
    ///
    /// # Errors
    /// If it began too many recently.
    pub(crate) fn admit_job(&self) -> Result<(), TooManyJobs> {
        if self.is_free() {
            return Ok(());
        }
        let limits = &self.instance.limits;
        let now = || self.instance.clock.elapsed();
        if let Some(client) = self.client.map(network) {
            let outcome = limits.of_address.check(Rate::Jobs, &client, now);
            outcome.map_err(|wait| TooManyJobs { wait, of_address: true })?;
        }
        let outcome =
            self.subject().map_or(Ok(()), |it| limits.of_subject.check(Rate::Jobs, it, now));
        outcome.map_err(|wait| TooManyJobs { wait, of_address: false })
    }

    /// Refuses an update that would begin a job.
    pub(crate) fn refuse_job(&self, exceeded: TooManyJobs) -> Refused {
        let limits = &self.instance.limits;
        if exceeded.of_address {
            limits.of_address.count_refusal(Rate::Jobs);
        } else {
            limits.of_subject.count_refusal(Rate::Jobs);
        }
        refuse("this client begins too many jobs", exceeded.wait)
    }

    /// Counts a job that it began.
    pub(crate) fn spend_job(&self) {
        if self.is_free() {
            return;
        }
        self.charge(&[(Rate::Jobs, 1.0)]);
    }

    /// Counts an event stream that the client begins, for its subject until the result is dropped.
    ///
    /// # Errors
    /// `too-many-requests` if its address or its subject does so too often, or its subject has as many as it may.
    pub(crate) fn begin_stream(&self) -> Outcome<Option<Arc<Counted<Arc<str>>>>> {
        if let Some(client) = self.client {
            self.instance.limits.handshake_of(client, self.instance.clock.elapsed())?;
        }
        self.instance.count_subject(self.grant.granted())
    }

    fn check(&self, rate: Rate) -> Result<(), Wait> {
        let now = || self.instance.clock.elapsed();
        let (of_address, of_subject) =
            (&self.instance.limits.of_address, &self.instance.limits.of_subject);
        if let Some(client) = self.client {
            let outcome = of_address.check(rate, &network(client), now);
            outcome.inspect_err(|_| of_address.count_refusal(rate))?;
        }
        let outcome = self.subject().map_or(Ok(()), |it| of_subject.check(rate, it, now));
        outcome.inspect_err(|_| of_subject.count_refusal(rate))
    }

    fn charge(&self, costs: &[(Rate, f64)]) {
        let limits = &self.instance.limits;
        let now = self.instance.clock.elapsed();
        if let Some(client) = self.client {
            limits.of_address.charge(&network(client), costs, now);
        }
        if let Some(holder) = self.subject() {
            limits.of_subject.charge(holder, costs, now);
        }
    }

    /// Nothing is counted of it.
    fn is_free(&self) -> bool {
        self.client.is_none() && self.subject().is_none()
    }

    fn subject(&self) -> Option<&str> {
        self.grant.granted().and_then(|granted| granted.subject())
    }
}

impl FromRequestParts<Arc<Instance>> for Meter {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        instance: &Arc<Instance>,
    ) -> Result<Self, Infallible> {
        let grant = Grant::from_request_parts(parts, instance).await?;
        let client = parts.extensions.get::<Client>().copied();
        Ok(Self::of(Arc::clone(instance), client, grant))
    }
}
