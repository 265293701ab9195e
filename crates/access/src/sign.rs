//! Signing tokens.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::token::Claims;
use crate::verifier::MIN_SECRET_BYTES;
use crate::{Permissions, TokenRules, crypto};

/// Signs a token. `key` is a private key in PEM (PKCS #8; ES256 or `EdDSA`) or a shared secret (HS256). `rules` has the issuer and
/// the audience that the token names. `expires` is in seconds since 1970.
///
/// # Errors
/// When the key is invalid, or the token would allow nothing.
pub fn sign(
    key: &str,
    permissions: Permissions,
    subject: Option<String>,
    rules: &TokenRules,
    expires: f64,
) -> Result<String, SignError> {
    crypto::install();
    permissions.check().map_err(|why| SignError(why.to_owned()))?;
    let (algorithm, key) = read(key.trim())?;
    let aud = rules.audience.clone().map(Into::into);
    let claims = Claims {
        exp: expires,
        nbf: None,
        sub: subject,
        aud,
        iss: rules.issuer.clone(),
        milepost: permissions,
    };
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key)
        .map_err(|error| SignError(error.to_string()))
}

fn read(key: &str) -> Result<(Algorithm, EncodingKey), SignError> {
    if key.contains("-----BEGIN") {
        let bytes = key.as_bytes();
        let read = EncodingKey::from_ec_pem(bytes)
            .map(|key| (Algorithm::ES256, key))
            .or_else(|_| EncodingKey::from_ed_pem(bytes).map(|key| (Algorithm::EdDSA, key)));
        return read.map_err(|_| {
            SignError("this PEM is no private key for ES256 or EdDSA (PKCS #8)".to_owned())
        });
    }
    if key.len() < MIN_SECRET_BYTES {
        return Err(SignError(format!("a secret has at least {MIN_SECRET_BYTES} bytes")));
    }
    let secret =
        EncodingKey::from_secret(key.as_bytes()).map_err(|error| SignError(error.to_string()))?;
    Ok((Algorithm::HS256, secret))
}

/// Why a token cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignError(String);

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SignError {}
