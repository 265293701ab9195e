//! Keys of tokens that are published at a URL: JWKS, RFC 7517.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use milepost_access::{TokenKeys, TokenRules, TokenVerifier};
use tokio::sync::Mutex;
use tokio::time::Instant;
use ureq::Agent;

use crate::config_error::ConfigError;

/// When the set is fetched again, …
const REFRESH: Duration = Duration::from_secs(600);
/// … when if that failed, …
const RETRY: Duration = Duration::from_secs(15);
/// … and how often, at most, for a token of a key that is not in it, unless the set has changed.
const AT_MOST: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A larger set is rejected.
const MAX_BYTES: u64 = 256 << 10;

/// A published set of keys, and when it was last requested.
pub(crate) struct Jwks {
    agent: Agent,
    url: String,
    rules: TokenRules,
    verifier: RwLock<Arc<TokenVerifier>>,
    /// The set as last fetched.
    text: Mutex<String>,
    /// How often the set has changed.
    version: AtomicU64,
    /// When it was last fetched for a token without a change.
    unchanged_at: Mutex<Option<Instant>>,
}

impl Jwks {
    pub(crate) fn new(url: String, rules: TokenRules) -> Result<Self, ConfigError> {
        let is_secure = url.starts_with("https://");
        let is_local =
            ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|local| {
                url.strip_prefix(local)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
            });
        if !is_secure && !is_local {
            return Err(ConfigError::new(format!(
                "token_jwks_url is {url:?}; it must be an https:// URL"
            )));
        }
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build();
        let verifier = TokenVerifier::new(TokenKeys::default(), rules.clone());
        let verifier = RwLock::new(Arc::new(verifier));
        Ok(Self {
            agent: config.into(),
            url,
            rules,
            verifier,
            text: Mutex::default(),
            version: AtomicU64::new(0),
            unchanged_at: Mutex::default(),
        })
    }

    pub(crate) fn verifier(&self) -> Arc<TokenVerifier> {
        Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the set, unless it was fetched a moment ago. Calls that arrive meanwhile wait for the same response.
    pub(crate) async fn refresh(&self) {
        let version = self.version.load(Ordering::Relaxed);
        let mut unchanged_at = self.unchanged_at.lock().await;
        if self.version.load(Ordering::Relaxed) != version {
            return;
        }
        if unchanged_at.is_none_or(|at| at.elapsed() >= AT_MOST) {
            let has_changed = self.fetch().await == Some(true);
            *unchanged_at = (!has_changed).then(Instant::now);
        }
    }

    /// Fetches the set regularly. Never returns.
    pub(crate) async fn run(&self) {
        loop {
            let fetched = {
                let _unchanged_at = self.unchanged_at.lock().await;
                self.fetch().await.is_some()
            };
            tokio::time::sleep(if fetched { REFRESH } else { RETRY }).await;
        }
    }

    /// Whether the set has changed; none if it could not be fetched.
    async fn fetch(&self) -> Option<bool> {
        let (agent, url) = (self.agent.clone(), self.url.clone());
        let fetched = tokio::task::spawn_blocking(move || {
            let mut answer = agent.get(&url).call().map_err(|error| error.to_string())?;
            let text = answer.body_mut().with_config().limit(MAX_BYTES).read_to_string();
            let text = text.map_err(|error| error.to_string())?;
            let keys = TokenKeys::jwks(&text).map_err(|error| error.to_string())?;
            Ok::<_, String>((text, keys))
        });
        let (text, keys) = match fetched.await.ok()? {
            Ok(fetched) => fetched,
            Err(error) => {
                let url = &self.url;
                tracing::error!(
                    error,
                    url,
                    "cannot fetch the keys of tokens; keeping the previous ones"
                );
                return None;
            }
        };
        let mut before = self.text.lock().await;
        if *before == text {
            return Some(false);
        }
        *before = text;
        let verifier = Arc::new(TokenVerifier::new(keys, self.rules.clone()));
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        self.version.fetch_add(1, Ordering::Relaxed);
        Some(true)
    }
}
