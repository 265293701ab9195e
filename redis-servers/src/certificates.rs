use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certificate authority for tests, and a server's certificate from it for 127.0.0.1 and localhost. They are files, because
/// Redis reads files.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, for clients to trust.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Certificates {
    /// Creates them in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self::valid_until(folder, 2999)
    }

    /// Creates certificates that are valid until the end of a year, in `folder`.
    pub fn valid_until(folder: &Path, year: i32) -> Self {
        let made = make(year).expect("certificates can be made");
        let names = ["authority.pem", "certificate.pem", "key.pem"];
        let files = names.map(|name| folder.join(name));
        for (file, text) in files.iter().zip(made) {
            fs::write(file, text).expect("a file can be written in a temporary folder");
        }
        let [authority, certificate, key] = files;
        Self { authority, certificate, key }
    }
}

fn make(year: i32) -> Result<[String; 3], rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Milepost's tests");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut certificate = CertificateParams::new(names)?;
    certificate.not_after = date_time_ymd(year, 12, 31);
    let certificate = certificate.signed_by(&key, &authority)?;
    Ok([authority.pem(), certificate.pem(), key.serialize_pem()])
}
