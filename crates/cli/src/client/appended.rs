use milepost_protocol::ProblemType;

use super::{RequestError, may_pass};

/// What became of lines that were to be appended to a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Appended {
    Yes,
    /// The job was not reported yet.
    NotKnownYet,
    /// Not now: nothing is wrong with them.
    Later,
    /// Not these lines.
    Rejected,
    /// None of this job, for that reason.
    Never(String),
}

impl Appended {
    /// After a request that came to nothing. What another program than a Milepost server answers, as a proxy while the server is replaced,
    /// says nothing of the lines, but for their size. A credential may be granted more later.
    pub(super) fn not(error: &RequestError) -> Self {
        if error.is_unknown_job() {
            return Self::NotKnownYet;
        }
        match error {
            RequestError::Refused(problem) if ProblemType::is_uri(&problem.uri) => {
                match problem.status {
                    401 | 403 => Self::Later,
                    // A server of an older version.
                    404 | 405 => Self::Never(error.to_string()),
                    status if may_pass(status) => Self::Later,
                    _ => Self::Rejected,
                }
            }
            RequestError::NotMilepost { status: 413, .. } => Self::Rejected,
            RequestError::Redirected { .. } => Self::Never(error.to_string()),
            _ => Self::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::Problem;

    use super::*;

    #[test]
    fn only_what_will_not_change_is_final() {
        let problem = |kind| {
            Appended::not(&RequestError::Refused(Box::new(Problem::new(kind, "no".to_owned()))))
        };
        assert_eq!(problem(ProblemType::UnknownJob), Appended::NotKnownYet);
        for kind in [
            ProblemType::BrokerFull,
            ProblemType::BrokerUnavailable,
            ProblemType::TooManyRequests,
            ProblemType::ShuttingDown,
            ProblemType::Forbidden,
        ] {
            assert_eq!(problem(kind), Appended::Later, "{kind:?}");
        }
        assert_eq!(problem(ProblemType::UpdateTooLarge), Appended::Rejected);
        let other = |status| {
            Appended::not(&RequestError::NotMilepost { url: "http://p".to_owned(), status })
        };
        assert_eq!(other(413), Appended::Rejected);
        for status in [400, 404, 429, 502, 503] {
            assert_eq!(other(status), Appended::Later, "{status}");
        }
    }
}
