//! TLS for clients: the certificate and its key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use milepost_broker::{Clock, SystemClock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Config;
use crate::config_error::ConfigError;
use crate::fingerprint::Fingerprint;

/// The server's certificate and key. The files are read again when they change.
pub(crate) struct Tls {
    files: Files,
    /// The files' fingerprint before they were read for the first time.
    opened: Fingerprint,
    config: RwLock<Arc<ServerConfig>>,
    clock: Arc<dyn Clock>,
}

/// Where the certificate and its key are: PEM.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// How often the files are checked for changes.
const LOOK: Duration = Duration::from_secs(1);

impl Tls {
    /// None if clients are served without TLS.
    ///
    /// # Errors
    /// If a file cannot be read, the key does not belong to the certificate, or the certificate has expired.
    pub(crate) fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, ConfigError> {
        let files = match (&config.tls_cert, &config.tls_key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => {
                Files { certificate: certificate.clone(), key: key.clone() }
            }
            (Some(_), None) => return Err(missing("tls_cert", "tls_key")),
            (None, Some(_)) => return Err(missing("tls_key", "tls_cert")),
        };
        let opened = files.fingerprint();
        let config = RwLock::new(files.read(&*clock)?);
        Ok(Some(Self { files, opened, config, clock }))
    }

    /// For one handshake, with the present certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }

    /// Reads the files again whenever they change. Never returns. Open connections keep their certificate.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut seen = self.opened.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.files.fingerprint();
            if now == seen {
                continue;
            }
            match self.files.read(&*self.clock) {
                Ok(config) => {
                    tracing::info!(file = %self.files.certificate.display(), "the certificate has changed");
                    *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                }
                // Tools that renew certificates write one file after the other.
                Err(error) => {
                    tracing::error!(%error, "the certificate cannot be used; keeping the one before");
                }
            }
            seen = now;
        }
    }
}

impl Config {
    /// Whether the certificate and its key, if there are any, can be used.
    ///
    /// # Errors
    /// If one is missing or cannot be read, they do not belong together, or the certificate has expired.
    pub fn check_tls(&self) -> Result<(), ConfigError> {
        Tls::open(self, Arc::new(SystemClock::default())).map(drop)
    }
}

impl Files {
    fn read(&self, clock: &dyn Clock) -> Result<Arc<ServerConfig>, ConfigError> {
        let chain = CertificateDer::pem_slice_iter(&read("tls_cert", &self.certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong("tls_cert", &self.certificate, &describe(&error)))?;
        let leaf = chain
            .first()
            .ok_or_else(|| wrong("tls_cert", &self.certificate, "it has no certificate in PEM"))?;
        check_validity(leaf, clock).map_err(|why| wrong("tls_cert", &self.certificate, &why))?;
        let key = PrivateKeyDer::from_pem_slice(&read("tls_key", &self.key)?).map_err(|error| {
            let why = match error {
                pem::Error::NoItemsFound => "it has no private key in PEM".to_owned(),
                error => describe(&error),
            };
            wrong("tls_key", &self.key, &why)
        })?;
        let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions();
        let versions =
            versions.map_err(|error| wrong("tls_cert", &self.certificate, &error.to_string()))?;
        let mut config = versions.with_no_client_auth().with_single_cert(chain, key).map_err(
            |error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    let why = format!("it is not the key of {}", self.certificate.display());
                    wrong("tls_key", &self.key, &why)
                }
                error => wrong("tls_key", &self.key, &error.to_string()),
            },
        )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([&self.certificate, &self.key])
    }
}

/// Rejects a certificate that no client would accept.
fn check_validity(certificate: &CertificateDer<'_>, clock: &dyn Clock) -> Result<(), String> {
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("it has no certificate: {error}"))?;
    let now = clock.now().as_micros() / 1_000_000;
    let validity = certificate.validity();
    if validity.not_after.timestamp() < now {
        return Err(format!("the certificate expired on {}", validity.not_after));
    }
    if validity.not_before.timestamp() > now {
        return Err(format!("the certificate is not valid before {}", validity.not_before));
    }
    Ok(())
}

fn read(setting: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(file).map_err(|error| wrong(setting, file, &error.to_string()))
}

fn describe(error: &pem::Error) -> String {
    format!("it is not PEM: {error}")
}

fn wrong(setting: &str, file: &Path, why: &str) -> ConfigError {
    ConfigError::new(format!("{setting}: {}: {why}", file.display()))
}

fn missing(has: &str, lacks: &str) -> ConfigError {
    ConfigError::new(format!(
        "{has} is set, and {lacks} is not: TLS needs a certificate and its key"
    ))
}
