use std::path::Path;

use rustls::InvalidMessage;
use rustls_native_certs::{CertificateResult, load_certs_from_paths};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How a client checks the certificate of the server at that URL: by the authorities that this system trusts, or those
/// of the file that `SSL_CERT_FILE` names. Where there are none, as in a container without any, by Mozilla's.
///
/// # Errors
/// If `SSL_CERT_FILE`, or else `SSL_CERT_DIR`, is set, and no certificate can be read from what it names; the text says so. Others are not
/// trusted in their place.
#[doc(hidden)]
pub fn tls_config(url: &str) -> Result<TlsConfig, String> {
    // To read the system's authorities takes milliseconds.
    if !url.starts_with("https:") {
        return Ok(TlsConfig::default());
    }
    let loaded = rustls_native_certs::load_native_certs();
    if !loaded.errors.is_empty() || loaded.certs.is_empty() {
        check_named("SSL_CERT_FILE", |path| load_certs_from_paths(Some(path), None))?;
        if loaded.certs.is_empty() {
            check_named("SSL_CERT_DIR", |_| loaded)?;
            return Ok(TlsConfig::default());
        }
    }
    let roots = loaded.certs.iter().map(|it| Certificate::from_der(it).to_owned());
    Ok(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
}

/// Whether what that variable names has a certificate, if it is set.
fn check_named(
    variable: &str,
    load: impl FnOnce(&Path) -> CertificateResult,
) -> Result<(), String> {
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let loaded = load(Path::new(&path));
    if !loaded.certs.is_empty() {
        return Ok(());
    }
    let why = loaded.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
    let path = Path::new(&path).display();
    Err(format!("no certificate can be read from {path}, which {variable} names{why}"))
}

/// Why a request got no answer, in words.
#[doc(hidden)]
pub fn connection_problem(error: &ureq::Error) -> String {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref()),
        _ => None,
    };
    match tls {
        // What came is the answer of a server without TLS.
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak HTTPS: use an http URL".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Whether that is the answer of a server, or of a proxy before one, to a request that should have been encrypted. All of them name
/// HTTPS in it.
#[doc(hidden)]
pub fn speaks_https(status: u16, body: &[u8]) -> bool {
    status == 400 && body.windows(5).any(|word| word == b"HTTPS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_needs_https_is_recognized() {
        for body in [
            "This server speaks HTTPS: use an https URL.",
            "Client sent an HTTP request to an HTTPS server.",
            "<center>The plain HTTP request was sent to HTTPS port</center>",
        ] {
            assert!(speaks_https(400, body.as_bytes()), "{body}");
        }
        assert!(!speaks_https(400, b"Bad Request") && !speaks_https(404, b"HTTPS"));
    }
}
