//! Verifying tokens.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::token::{Claims, MAX_TOKEN_BYTES, TokenError};
use crate::{Permissions, crypto};

/// The shortest secret for HS256, in bytes: RFC 7518, section 3.2.
pub const MIN_SECRET_BYTES: usize = 32;

/// The most keys of a set that are used. A token without a `kid` is checked with each key of its algorithm.
const MAX_KEYS: usize = 32;

/// The keys that verify tokens. Each key has one algorithm, which a token cannot override.
#[derive(Clone, Debug, Default)]
pub struct TokenKeys {
    keys: Vec<TokenKey>,
}

#[derive(Clone, Debug)]
struct TokenKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl TokenKeys {
    /// A shared secret: HS256. White space around it does not count, as for those who sign with it.
    ///
    /// # Errors
    /// When it has fewer than [`MIN_SECRET_BYTES`].
    pub fn secret(secret: &str) -> Result<Self, InvalidTokenKey> {
        let secret = secret.trim();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(InvalidTokenKey(format!("a secret has at least {MIN_SECRET_BYTES} bytes")));
        }
        let key = DecodingKey::from_secret(secret.as_bytes())
            .map_err(|error| InvalidTokenKey(error.to_string()))?;
        Ok(Self::one(Algorithm::HS256, key))
    }

    /// Parses a file: public keys in PEM (RS256, ES256, `EdDSA`), a set of keys (JWKS, RFC 7517), or a shared secret.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn file(text: &str) -> Result<Self, InvalidTokenKey> {
        let text = text.trim();
        if text.starts_with('{') {
            Self::jwks(text)
        } else if text.contains("-----BEGIN") {
            Self::pem(text)
        } else {
            Self::secret(text)
        }
    }

    /// Parses a set of public keys. Keys that are not for RS256, ES256 or `EdDSA` are ignored, and so are shared secrets.
    ///
    /// # Errors
    /// When it is not a set of keys, or none of them can be used.
    pub fn jwks(json: &str) -> Result<Self, InvalidTokenKey> {
        let set: JwkSet = serde_json::from_str(json)
            .map_err(|error| InvalidTokenKey(format!("this is no JWKS: {error}")))?;
        let keys: Vec<_> = set.keys.iter().filter_map(TokenKey::from_jwk).take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err(InvalidTokenKey(
                "the JWKS has no key for RS256, ES256 or EdDSA".to_owned(),
            ));
        }
        Ok(Self { keys })
    }

    fn pem(text: &str) -> Result<Self, InvalidTokenKey> {
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidTokenKey(
                "this is a private key; the server needs the public one".to_owned(),
            ));
        }
        let bytes = text.as_bytes();
        let read = DecodingKey::from_ec_pem(bytes)
            .map(|key| Self::one(Algorithm::ES256, key))
            .or_else(|_| {
                DecodingKey::from_ed_pem(bytes).map(|key| Self::one(Algorithm::EdDSA, key))
            })
            .or_else(|_| {
                DecodingKey::from_rsa_pem(bytes).map(|key| Self::one(Algorithm::RS256, key))
            });
        read.map_err(|_| {
            InvalidTokenKey("this PEM is no public key for RS256, ES256 or EdDSA".to_owned())
        })
    }

    fn one(algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { keys: vec![TokenKey { kid: None, algorithm, key }] }
    }

    /// Adds all keys of `other`.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl TokenKey {
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let stated = match jwk.common.key_algorithm {
            None => algorithm,
            Some(KeyAlgorithm::RS256) => Algorithm::RS256,
            Some(KeyAlgorithm::ES256) => Algorithm::ES256,
            Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
            Some(_) => return None,
        };
        let is_for_signatures = jwk
            .common
            .public_key_use
            .as_ref()
            .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (stated == algorithm && is_for_signatures).then(|| Self {
            kid: jwk.common.key_id.clone(),
            algorithm,
            key,
        })
    }
}

/// The rules for a token's claims.
#[derive(Clone, Debug, Default)]
pub struct TokenRules {
    /// The required `iss`; none: any issuer is accepted.
    pub issuer: Option<String>,
    /// The audience that `aud` must be or contain. None: a token with an audience is rejected.
    pub audience: Option<String>,
    /// By how many seconds the clocks of signers may differ.
    pub leeway: f64,
}

/// Verifies tokens.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    keys: Vec<Checker>,
    rules: TokenRules,
}

/// A key with what jsonwebtoken checks besides the signature: the algorithm, the issuer and the audience.
#[derive(Clone, Debug)]
struct Checker {
    key: TokenKey,
    checks: Validation,
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The permissions.
    pub permissions: Permissions,
    /// Until when the token is valid, in seconds since 1970, leeway included.
    pub expires: f64,
    /// For whom it was made (`sub`).
    pub subject: Option<String>,
}

impl TokenVerifier {
    /// A verifier with these keys and rules.
    pub fn new(keys: TokenKeys, rules: TokenRules) -> Self {
        crypto::install();
        let keys = keys.keys.into_iter();
        let keys = keys.map(|key| Checker { checks: rules.checks(key.algorithm), key });
        Self { keys: keys.collect(), rules }
    }

    /// Verifies a token. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Why the token is rejected.
    pub fn verify(&self, token: &str, now: f64) -> Result<Verified, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        // A single key without a `kid` is for every token of its algorithm, which jsonwebtoken compares. Reading the header here
        // as well would cost as much as reading the claims.
        if let [only] = &*self.keys
            && only.key.kid.is_none()
        {
            return self.check(only.decode(token)?, now);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let of_kid = |key: &TokenKey| header.kid.is_some() && key.kid == header.kid;
        let named = self.keys.iter().any(|checker| of_kid(&checker.key));
        // A key with a `kid` verifies only tokens with the same `kid`, or without one.
        let fits = |checker: &&Checker| {
            let key = &checker.key;
            let named_so =
                if named { of_kid(key) } else { key.kid.is_none() || header.kid.is_none() };
            named_so && key.algorithm == header.alg
        };
        let mut refused = TokenError::UnknownKey;
        for checker in self.keys.iter().filter(fits) {
            match checker.decode(token) {
                Ok(claims) => return self.check(claims, now),
                // Another key may have signed it.
                Err(error @ (TokenError::Signature | TokenError::Malformed)) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    fn check(&self, claims: Claims, now: f64) -> Result<Verified, TokenError> {
        let expires = claims.exp + self.rules.leeway;
        if !expires.is_finite() || expires <= now {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now + self.rules.leeway) {
            return Err(TokenError::NotYet);
        }
        claims.milepost.check().map_err(|why| TokenError::Claims(format!("milepost: {why}")))?;
        let subject = claims.sub.map(|subject| subject.chars().take(128).collect());
        Ok(Verified { permissions: claims.milepost, expires, subject })
    }
}

impl TokenRules {
    /// The checks of jsonwebtoken. It does not check the times, since it would read the clock; [`TokenVerifier::verify`] does.
    fn checks(&self, algorithm: Algorithm) -> Validation {
        let mut checks = Validation::new(algorithm);
        checks.validate_exp = false;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            checks.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.audience {
            checks.set_audience(&[audience]);
            required.push("aud");
        }
        checks.set_required_spec_claims(&required);
        checks
    }
}

impl Checker {
    /// The claims of a token that has this key's algorithm and signature, and the issuer and the audience that are expected.
    fn decode(&self, token: &str) -> Result<Claims, TokenError> {
        let decoded = jsonwebtoken::decode(token, &self.key.key, &self.checks);
        let error = match decoded {
            Ok(data) => return Ok(data.claims),
            Err(error) => error,
        };
        Err(match error.kind() {
            ErrorKind::InvalidAlgorithm => TokenError::UnknownKey,
            ErrorKind::InvalidSignature => TokenError::Signature,
            ErrorKind::InvalidAudience => TokenError::Audience,
            ErrorKind::InvalidIssuer => TokenError::Issuer,
            ErrorKind::MissingRequiredClaim(name) => match name.as_str() {
                "aud" => TokenError::Audience,
                "iss" => TokenError::Issuer,
                _ => TokenError::Claims(format!("{name} is missing")),
            },
            // Either the header or the claims: jsonwebtoken does not say which.
            ErrorKind::Json(error) if jsonwebtoken::decode_header(token).is_ok() => {
                TokenError::Claims(error.to_string())
            }
            _ => TokenError::Malformed,
        })
    }
}

/// Why a key cannot verify tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTokenKey(String);

impl fmt::Display for InvalidTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidTokenKey {}
