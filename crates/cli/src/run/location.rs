//! Where people find a job: its page, or the Redis that has it.

use milepost_protocol::JobId;
use milepost_redis::Address;

/// Tells people at the terminal how to watch the job.
pub(super) fn line(url: &str, job: &JobId) -> String {
    match Address::parse(url) {
        Ok(redis) => format!("{job}: reported to {redis}"),
        Err(_) => format!("{job}: `milepost watch {job}` or {}", page(url, job)),
    }
}

/// The job's page, or the Redis that has it.
pub(super) fn of(url: &str, job: &JobId) -> String {
    match Address::parse(url) {
        Ok(redis) => redis.to_string(),
        Err(_) => page(url, job),
    }
}

/// The job's page. Redis serves no pages.
pub(super) fn page_unless_redis(url: &str, job: &JobId) -> Option<String> {
    Address::parse(url).is_err().then(|| page(url, job))
}

/// The address of the job's page.
pub(crate) fn page(url: &str, job: &JobId) -> String {
    format!("{}/?job={job}", url.trim_end_matches('/'))
}
