use std::fmt;
use std::time::Duration;

use milepost_protocol::{JobId, State, Timestamp, Update};
use milepost_redis::{Address, Client, Failure, Reply, Retention};
use tokio::runtime::Builder;

use super::RequestError;

/// A Redis or Valkey that keeps jobs' states: `spec/README.md`, section 14.
pub(crate) struct Redis {
    client: Client,
    timeout: Duration,
}

impl Redis {
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, RequestError> {
        let address = Address::parse(url).map_err(RequestError::InvalidRedisUrl)?;
        let client = Client::new(address, Retention::default()).with_patience(timeout);
        Ok(Self { client, timeout })
    }

    pub(super) fn address(&self) -> &Address {
        self.client.address()
    }

    pub(super) fn state(&self, job: &JobId) -> Result<Option<State>, RequestError> {
        self.ask(self.client.states(job, 1, Timestamp::now())).map(|mut states| states.pop())
    }

    pub(super) fn report(&self, update: &Update) -> Result<String, RequestError> {
        match self.ask(self.client.report(update, Timestamp::now()))? {
            Reply::Accepted(accepted) => Ok(accepted.state.position().to_string()),
            Reply::Refused(refusal) => Err(RequestError::AttemptOver(refusal)),
            // Somebody deletes and writes the job's keys at this moment.
            _ => Err(self.failed(Failure::Unavailable("the job's keys are in motion".to_owned()))),
        }
    }

    fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, RequestError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| self.failed(Failure::Unavailable(error.to_string())))?;
        let in_time = async { tokio::time::timeout(self.timeout, question).await };
        let answer = runtime.block_on(in_time);
        // Dropping it would wait for a name server that does not answer.
        runtime.shutdown_background();
        let late = |_| Err(Failure::Unavailable("Redis did not answer in time".to_owned()));
        answer.unwrap_or_else(late).map_err(|failure| self.failed(failure))
    }

    fn failed(&self, failure: Failure) -> RequestError {
        RequestError::Redis { address: Box::new(self.address().clone()), failure }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("address", self.address()).finish_non_exhaustive()
    }
}
