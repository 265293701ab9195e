//! The settings of access control.

use crate::config::Config;
use crate::config_error::ConfigError;

/// A shorter key could be guessed.
const MIN_KEY: usize = 20;

impl Config {
    /// Whether credentials are configured.
    pub fn asks_for_credentials(&self) -> bool {
        self.key.is_some()
            || self.keys_file.is_some()
            || self.token_secret.is_some()
            || !self.token_keys.is_empty()
            || self.token_jwks_url.is_some()
    }

    /// The key without white space around it, as clients send it (RFC 9110, section 5.5): a file or a secret of a platform often ends
    /// in a line break.
    pub(super) fn trimmed_key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.expose().trim())
    }

    pub(crate) fn check_access(&self) -> Result<(), ConfigError> {
        if let Some(key) = self.trimmed_key() {
            if key.len() < MIN_KEY {
                let error = format!(
                    "key is too short; it must have at least {MIN_KEY} characters: openssl rand -hex 32"
                );
                return Err(ConfigError::new(error));
            }
            if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                let error = "key has a character that no header may have; use the letters, digits and punctuation of ASCII";
                return Err(ConfigError::new(error.to_owned()));
            }
        }
        let short_secret = self
            .token_secret
            .as_ref()
            .is_some_and(|secret| secret.expose().trim().len() < milepost_access::MIN_SECRET_BYTES);
        if short_secret {
            let min = milepost_access::MIN_SECRET_BYTES;
            let error = format!(
                "token_secret is too short; it must have at least {min} bytes: openssl rand -hex 32"
            );
            return Err(ConfigError::new(error));
        }
        if self.insecure && self.asks_for_credentials() {
            let error = "insecure lets everybody in, and there are credentials to ask for: leave one of them out";
            return Err(ConfigError::new(error.to_owned()));
        }
        Ok(())
    }
}
