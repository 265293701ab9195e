//! Tokens that let a page watch a job: `spec/README.md`, section 15.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use milepost_protocol::{JobId, Timestamp};
use ring::hmac;
use serde_json::json;

// `milepost-access` signs such tokens too, but brings a library for JWTs with it. The reporter stays small without that.

/// A token cannot be revoked.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A token with which a page may watch that job, and nothing else, for so long: 1 second to a day. `secret` is the server's
/// `token_secret`.
///
/// It is a JWT signed with HS256. For other claims or keys, use a library for JWTs.
///
/// # Errors
/// When the secret is empty, the time is out of bounds, or no token can name the job alone.
pub fn watch_token(job: &JobId, valid_for: Duration, secret: &str) -> Result<String, NoToken> {
    let secret = secret.trim();
    if secret.is_empty() {
        return Err(NoToken::NoSecret);
    }
    if !(Duration::from_secs(1)..=LONGEST).contains(&valid_for) {
        return Err(NoToken::Time(valid_for));
    }
    // To a server these are all jobs with a tag, or of a parent.
    if ["tag:", "parent:"].iter().any(|other| job.as_str().starts_with(other)) {
        return Err(NoToken::Ambiguous(job.clone()));
    }
    let now = Duration::from_micros(Timestamp::now().as_micros().try_into().unwrap_or_default());
    let expires = now.saturating_add(valid_for).as_secs();
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let claims = json!({"exp": expires, "milepost": {"watch": [job.as_str()]}});
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoToken {
    /// There is no secret to sign with.
    NoSecret,
    /// The job is not reported, so nobody could watch it.
    NotReported,
    /// A token is valid for 1 second to a day, not for so long.
    Time(Duration),
    /// To a server, the job's id is a pattern that names other jobs: it begins with `tag:` or `parent:`.
    Ambiguous(JobId),
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecret => {
                f.write_str("there is no secret to sign with: set MILEPOST_TOKEN_SECRET")
            }
            Self::NotReported => f.write_str("the job is not reported"),
            Self::Time(time) => {
                write!(f, "a token is valid for 1 to {} seconds, not {time:?}", LONGEST.as_secs())
            }
            Self::Ambiguous(job) => write!(f, "no token can name the job {job} alone"),
        }
    }
}

impl std::error::Error for NoToken {}

#[cfg(test)]
mod tests {
    use milepost_access::{Pattern, TokenKeys, TokenRules, TokenVerifier};

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn job(id: &str) -> JobId {
        JobId::parse(id).unwrap()
    }

    #[test]
    fn a_token_lets_a_page_watch_one_job_for_so_long() {
        // A file's last line break is none of the secret.
        let secret = format!("{SECRET}\n");
        let token = watch_token(&job("user:7:a"), Duration::from_secs(60), &secret).unwrap();
        let keys = TokenKeys::secret(SECRET).unwrap();
        let verifier =
            TokenVerifier::new(keys, TokenRules { leeway: 0.0, ..TokenRules::default() });
        let now = Duration::from_micros(Timestamp::now().as_micros().try_into().unwrap());
        let now = now.as_secs_f64();
        let verified = verifier.verify(&token, now).unwrap();
        let permissions = &verified.permissions;
        assert_eq!(permissions.watch, [Pattern::parse("user:7:a").unwrap()]);
        assert!(permissions.report.is_empty() && permissions.control.is_empty());
        assert!(!permissions.operate);
        assert!(verifier.verify(&token, now + 61.0).is_err());
    }

    #[test]
    fn a_token_needs_a_secret_a_time_and_a_job_that_it_can_name() {
        let minute = Duration::from_secs(60);
        assert_eq!(watch_token(&job("a"), minute, ""), Err(NoToken::NoSecret));
        for time in [Duration::ZERO, LONGEST + minute] {
            assert_eq!(watch_token(&job("a"), time, SECRET), Err(NoToken::Time(time)));
        }
        for id in ["tag:red", "parent:batch-7"] {
            let outcome = watch_token(&job(id), minute, SECRET);
            assert_eq!(outcome, Err(NoToken::Ambiguous(job(id))));
        }
        let silent = crate::Job::silent();
        assert_eq!(silent.watch_token(minute), Err(NoToken::NotReported));
    }
}
