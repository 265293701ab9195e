use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use milepost_access::{
    Key, KeyRing, Permissions, TokenError, TokenKeys, TokenRules, TokenVerifier,
};
use milepost_broker::Clock;
use tokio::sync::watch;

use super::Granted;
use super::grant::NOBODY;
use super::jwks::Jwks;
use crate::config::Config;
use crate::config_error::ConfigError;
use crate::fingerprint::Fingerprint;

/// The credentials that the server knows. Its files are read again when they change.
pub(crate) struct Gate {
    sources: Sources,
    /// The files' fingerprint before they were read for the first time.
    opened: Fingerprint,
    known: RwLock<Arc<Known>>,
    jwks: Option<Jwks>,
    /// How often the known credentials have changed.
    changes: watch::Sender<u64>,
}

/// Where credentials are configured.
struct Sources {
    key: Option<String>,
    keys_file: Option<PathBuf>,
    token_secret: Option<String>,
    token_keys: Vec<PathBuf>,
    rules: TokenRules,
}

/// The sources' content when they were last read.
struct Known {
    keys: KeyRing,
    /// What each key allows, in the ring's order: made once, not for each request.
    granted: Vec<Arc<Granted>>,
    tokens: TokenVerifier,
}

/// How often the files are checked for changes.
const LOOK: Duration = Duration::from_secs(1);

impl Config {
    /// Reads what clients' credentials are compared with, as the server does when it starts.
    ///
    /// # Errors
    /// If the file of keys or one of tokens' keys cannot be read, or is not valid.
    pub fn check_credentials(&self) -> Result<(), ConfigError> {
        Gate::open(self).map(drop)
    }
}

impl Gate {
    /// None if no credentials are configured.
    ///
    /// # Errors
    /// If a source cannot be read or is invalid.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, ConfigError> {
        if !config.asks_for_credentials() {
            return Ok(None);
        }
        let sources = Sources {
            key: config.trimmed_key().map(str::to_owned),
            keys_file: config.keys_file.clone(),
            token_secret: config.token_secret.as_ref().map(|it| it.expose().to_owned()),
            token_keys: config.token_keys.clone(),
            rules: TokenRules {
                issuer: config.token_issuer.clone(),
                audience: config.token_audience.clone(),
                leeway: config.token_leeway,
            },
        };
        let opened = sources.fingerprint();
        let known = RwLock::new(Arc::new(sources.read()?));
        let jwks = config
            .token_jwks_url
            .clone()
            .map(|url| Jwks::new(url, sources.rules.clone()))
            .transpose()?;
        Ok(Some(Self { sources, opened, known, jwks, changes: watch::Sender::new(0) }))
    }

    /// What a key or a token allows.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) async fn authenticate(
        &self,
        credential: &str,
        clock: &dyn Clock,
    ) -> Result<Arc<Granted>, TokenError> {
        let known = self.authenticate_now(credential, clock);
        match &self.jwks {
            // It may be signed with a key that was published since the set was fetched.
            Some(jwks) if matches!(known, Err(TokenError::UnknownKey | TokenError::Signature)) => {
                jwks.refresh().await;
                self.authenticate_now(credential, clock)
            }
            _ => known,
        }
    }

    /// The same, for callers that cannot wait.
    pub(crate) fn authenticate_now(
        &self,
        credential: &str,
        clock: &dyn Clock,
    ) -> Result<Arc<Granted>, TokenError> {
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(place) = known.keys.find(credential) {
            return Ok(Arc::clone(&known.granted[place]));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact to the microsecond for two centuries"
        )]
        let now = clock.now().as_micros() as f64 / 1e6;
        let mut verified = known.tokens.verify(credential, now);
        if let Some(jwks) = &self.jwks
            && matches!(verified, Err(TokenError::UnknownKey | TokenError::Signature))
        {
            verified = jwks.verifier().verify(credential, now);
        }
        let verified = verified?;
        let holder =
            verified.subject.map_or_else(|| NOBODY.to_owned(), |subject| format!("sub:{subject}"));
        Ok(Arc::new(Granted {
            permissions: verified.permissions,
            expires: Some(verified.expires),
            key: None,
            holder,
        }))
    }

    /// Whether a grant still holds, that is, its key was not revoked or changed.
    pub(crate) fn still_holds(&self, granted: &Granted) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        granted.key.as_ref().is_none_or(|key| known.keys.has(key))
    }

    /// Notifies of changes of the known credentials.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads the files again whenever they change, and fetches the set of keys from time to time. Never returns.
    pub(crate) async fn run(self: Arc<Self>) {
        let fetching = async {
            match &self.jwks {
                Some(jwks) => jwks.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(self.look(), fetching);
    }

    async fn look(&self) {
        let mut seen = self.opened.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.sources.fingerprint();
            if now == seen {
                continue;
            }
            match self.sources.read() {
                Ok(known) => {
                    let keys = known.granted.len();
                    tracing::info!(target: "milepost_audit", action = "reload keys", keys);
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
                    self.changes.send_modify(|changes| *changes += 1);
                }
                Err(error) => {
                    tracing::error!(%error, "the keys cannot be read; keeping those before");
                }
            }
            seen = now;
        }
    }
}

impl Sources {
    fn read(&self) -> Result<Known, ConfigError> {
        let (mut ring, mut tokens) = (KeyRing::default(), TokenKeys::default());
        if let Some(file) = &self.keys_file {
            ring = read("keys_file", file, |text| {
                // Somebody is just writing it: `milepost key` leaves a line if it revokes the last key.
                if text.trim().is_empty() {
                    return Err("it is empty; milepost key add adds a key".to_owned());
                }
                KeyRing::parse(text).map_err(|error| error.to_string())
            })?;
        }
        if let Some(key) = &self.key {
            let added = ring.add(Key::of_secret("key", key, Permissions::all()));
            added.map_err(|error| ConfigError::new(format!("key: {error}")))?;
        }
        if let Some(secret) = &self.token_secret {
            let keys = TokenKeys::secret(secret);
            tokens
                .extend(keys.map_err(|error| ConfigError::new(format!("token_secret: {error}")))?);
        }
        for file in &self.token_keys {
            let keys = read("token_keys", file, |text| {
                TokenKeys::file(text).map_err(|error| error.to_string())
            })?;
            tokens.extend(keys);
        }
        let tokens = TokenVerifier::new(tokens, self.rules.clone());
        let granted = ring.keys().iter().map(|key| Arc::new(Granted::of_key(key))).collect();
        Ok(Known { keys: ring, granted, tokens })
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.keys_file.iter().chain(&self.token_keys))
    }
}

fn read<T>(
    setting: &str,
    file: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string());
    text.and_then(|text| parse(&text))
        .map_err(|error| ConfigError::new(format!("{setting}: {}: {error}", file.display())))
}
