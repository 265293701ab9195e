//! The cryptography of tokens: ring, which TLS uses as well, behind the interface of jsonwebtoken.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Installs it for jsonwebtoken. May be called any number of times.
pub(crate) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    // Fails only if the process has installed another provider, which works as well.
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct Key<K> {
    algorithm: Algorithm,
    key: K,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the provider has this signature")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if algorithm.family() != key.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = match algorithm {
        Algorithm::HS256 => {
            PublicKey::Secret(hmac::Key::new(hmac::HMAC_SHA256, key.try_get_as_bytes()?))
        }
        Algorithm::ES256 | Algorithm::EdDSA => PublicKey::Bytes(key.try_get_as_bytes()?.to_vec()),
        Algorithm::RS256 => match key.kind() {
            DecodingKeyKind::SecretOrDer(der) => PublicKey::Bytes(der.clone()),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                PublicKey::Components(n.clone(), e.clone())
            }
        },
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(Key { algorithm: *algorithm, key }))
}

enum PublicKey {
    Secret(hmac::Key),
    Bytes(Vec<u8>),
    Components(Vec<u8>, Vec<u8>),
}

impl Verifier<Vec<u8>> for Key<PublicKey> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (&self.key, self.algorithm) {
            (PublicKey::Secret(key), _) => hmac::verify(key, message, signature),
            (PublicKey::Components(n, e), _) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            (PublicKey::Bytes(key), Algorithm::ES256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            (PublicKey::Bytes(key), Algorithm::EdDSA) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
            (PublicKey::Bytes(key), _) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Key<PublicKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the provider has this signature")]
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    let bytes = key.as_bytes();
    let key = match algorithm {
        Algorithm::HS256 => PrivateKey::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                bytes,
                &SystemRandom::new(),
            );
            PrivateKey::Ec(pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?)
        }
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
            PrivateKey::Ed(pair.map_err(|_| ErrorKind::InvalidEddsaKey)?)
        }
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(Key { algorithm: *algorithm, key }))
}

enum PrivateKey {
    Secret(hmac::Key),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer<Vec<u8>> for Key<PrivateKey> {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        match &self.key {
            PrivateKey::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            PrivateKey::Ec(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message);
                signed.map(|signed| signed.as_ref().to_vec()).map_err(|_| signature::Error::new())
            }
            PrivateKey::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for Key<PrivateKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
