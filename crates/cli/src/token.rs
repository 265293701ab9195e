//! `milepost token`: a token for a watcher.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use milepost_access::{Permissions, TokenRules, sign};
use milepost_protocol::Timestamp;

use crate::exit::{ExitCode, complain, printed};
use crate::key::Rights;

/// Sign a token that lets its holder watch some jobs for a while, and print it.
///
/// The token is signed with the server's token_secret, or with the private key of one of its token_keys. Applications usually sign
/// tokens themselves, with any JWT library.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help in a terminal")]
pub(crate) struct Args {
    #[command(flatten)]
    rights: Rights,
    /// How long the token is valid: 90s, 15m, 12h, 7d
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lifetime: Duration,
    /// The holder of the token (sub)
    #[arg(long, value_name = "WHO")]
    subject: Option<String>,
    #[command(flatten)]
    signer: Signer,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let permissions = self.rights.permissions();
        match self.signer.token(permissions, self.subject, self.lifetime) {
            Ok(token) => printed(io::stdout().write_all(format!("{token}\n").as_bytes())),
            Err(problem) => complain(problem, ExitCode::Usage),
        }
    }
}

/// The secret that tokens are signed with, and their issuer and audience.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help in a terminal")]
pub(crate) struct Signer {
    /// The server's token_issuer (iss)
    #[arg(long, value_name = "ISSUER", env = "MILEPOST_TOKEN_ISSUER")]
    issuer: Option<String>,
    /// The server's token_audience (aud)
    #[arg(long, value_name = "AUDIENCE", env = "MILEPOST_TOKEN_AUDIENCE")]
    audience: Option<String>,
    /// A file with the secret, or with a private key in PEM (ES256 or EdDSA, PKCS #8)
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// The secret, if there is no file; from the environment, so that other users do not see it among the processes
    #[arg(long, hide = true, env = "MILEPOST_TOKEN_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

impl Signer {
    /// Whether there is something to sign with.
    pub(crate) fn has_key(&self) -> bool {
        self.signing_key.is_some() || self.secret.as_ref().is_some_and(|secret| !secret.is_empty())
    }

    /// A token that holds from now on for `lifetime`; or what is wrong.
    pub(crate) fn token(
        self,
        permissions: Permissions,
        subject: Option<String>,
        lifetime: Duration,
    ) -> Result<String, String> {
        let key = match (self.signing_key, self.secret) {
            (Some(file), _) => fs::read_to_string(&file)
                .map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
            (None, Some(secret)) if !secret.is_empty() => secret,
            _ => return Err(NOTHING_TO_SIGN_WITH.to_owned()),
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact to the microsecond for two centuries"
        )]
        let now = Timestamp::now().as_micros() as f64 / 1e6;
        let rules = TokenRules { issuer: self.issuer, audience: self.audience, leeway: 0.0 };
        sign(&key, permissions, subject, &rules, now + lifetime.as_secs_f64())
            .map_err(|error| format!("no token: {error}"))
    }
}

/// What to do without a key.
pub(crate) const NOTHING_TO_SIGN_WITH: &str =
    "there is nothing to sign with: set MILEPOST_TOKEN_SECRET, or name a --signing-key";

/// At most a year: a token cannot be revoked.
const LONGEST: u64 = 366 * 86_400;

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 15m, 12h or 7d, a year at most");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = count.checked_mul(seconds).filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times() {
        assert_eq!(duration("15m").unwrap().as_secs(), 900);
        assert_eq!(duration("7d").unwrap().as_secs(), 604_800);
        for bad in
            ["", "m", "15", "-1s", "0s", "1.5h", "15 m", "367d", "99999999999999999999s", "1ü"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
