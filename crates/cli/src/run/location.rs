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

/// The address of the job's page, without a password, because logs have it.
pub(crate) fn page(url: &str, job: &JobId) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{}/?job={job}", host.trim_end_matches('/'))
}
