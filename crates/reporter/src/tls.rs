use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How a client checks the certificate of the server at that URL: by the authorities that this system trusts, or those
/// of the file that `SSL_CERT_FILE` names. Where there are none, as in a container without any, by Mozilla's.
#[doc(hidden)]
pub fn tls_config(url: &str) -> TlsConfig {
    // To read the system's authorities takes milliseconds.
    if !url.starts_with("https:") {
        return TlsConfig::default();
    }
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return TlsConfig::default();
    }
    let roots = found.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    TlsConfig::builder().root_certs(RootCerts::from(roots)).build()
}
