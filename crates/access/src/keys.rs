//! Keys: secrets with a name. Only their digests are stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::Permissions;

/// The prefix of every secret, by which scanners recognize a leaked one.
pub const SECRET_PREFIX: &str = "mpk_";

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The name: 1 to 64 characters out of `A–Z a–z 0–9 - . _`.
    pub name: String,
    /// The SHA-256 digest of its secret, in hexadecimal. The secret has 256 random bits, so no slower hash is needed.
    sha256: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// What it allows.
    #[serde(rename = "allow")]
    pub permissions: Permissions,
}

/// A new key with its secret, which cannot be read again later.
pub struct NewKey {
    /// The secret, for the user of the key.
    pub secret: String,
    /// The key, for the server.
    pub key: Key,
}

impl NewKey {
    /// Creates a key with a random secret.
    ///
    /// # Errors
    /// When the name is invalid, the permissions allow nothing, or the system has no random numbers.
    pub fn generate(
        name: &str,
        permissions: Permissions,
        created: String,
    ) -> Result<Self, InvalidKeys> {
        let mut random = [0; 32];
        let drawn = SystemRandom::new().fill(&mut random);
        drawn.map_err(|_| InvalidKeys("the system gives no random numbers".to_owned()))?;
        let secret = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let key = Key {
            name: name.to_owned(),
            sha256: hexadecimal(&sha256(&secret)),
            created,
            permissions,
        };
        key.check()?;
        Ok(Self { secret, key })
    }
}

impl Key {
    /// A key with a given secret.
    pub fn of_secret(name: &str, secret: &str, permissions: Permissions) -> Self {
        let sha256 = hexadecimal(&sha256(secret));
        Self { name: name.to_owned(), sha256, created: String::new(), permissions }
    }

    /// Returns the digest if all is valid.
    fn check(&self) -> Result<Digest, InvalidKeys> {
        let invalid = |why: &str| InvalidKeys(format!("the key {:?}: {why}", self.name));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            return Err(invalid("a name has 1 to 64 characters out of A-Z a-z 0-9 - . _"));
        }
        self.permissions.check().map_err(invalid)?;
        self.digest().ok_or_else(|| invalid("sha256 is not a digest of 64 hexadecimal digits"))
    }

    fn digest(&self) -> Option<Digest> {
        let digits = self.sha256.as_bytes();
        let mut digest = Digest::default();
        for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
            let &[high, low] = pair else { return None };
            let value =
                |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
            *byte = value(high)? << 4 | value(low)?;
        }
        (digits.len() == 2 * digest.len()).then_some(digest)
    }
}

/// The keys that a server knows. Stored as TOML, with an entry `[[key]]` for each.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<Arc<Key>>,
    /// The places in `keys`.
    by_digest: HashMap<Digest, usize>,
}

/// The most keys in one file.
const MAX_KEYS: usize = 10_000;

type Digest = [u8; 32];

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    key: Vec<Key>,
}

impl KeyRing {
    /// Parses a file of keys.
    ///
    /// # Errors
    /// When it is invalid: what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            InvalidKeys(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        let mut ring = Self::default();
        for key in file.key {
            ring.add(key)?;
        }
        Ok(ring)
    }

    /// Formats the file, so that [`parse`](Self::parse) reads the same keys again.
    pub fn to_toml(&self) -> String {
        let key = self.keys.iter().map(|key| (**key).clone()).collect();
        // Keys consist of strings, lists and a boolean, which TOML can always express.
        toml::to_string(&File { key }).unwrap_or_default()
    }

    /// Adds a key.
    ///
    /// # Errors
    /// When the key is invalid, or its name or its secret is in use already.
    pub fn add(&mut self, mut key: Key) -> Result<(), InvalidKeys> {
        key.sha256.make_ascii_lowercase();
        let digest = key.check()?;
        if self.keys.len() >= MAX_KEYS {
            return Err(InvalidKeys(format!("there are {MAX_KEYS} keys, as many as allowed")));
        }
        if self.keys.iter().any(|known| known.name == key.name) {
            return Err(InvalidKeys(format!("there is a key {:?} already", key.name)));
        }
        if self.by_digest.contains_key(&digest) {
            return Err(InvalidKeys(format!("the key {:?} has the secret of another", key.name)));
        }
        self.by_digest.insert(digest, self.keys.len());
        self.keys.push(Arc::new(key));
        Ok(())
    }

    /// Removes the key of that name; false if there is none.
    pub fn revoke(&mut self, name: &str) -> bool {
        let Some(revoked) = self.keys.iter().position(|key| key.name == name) else { return false };
        self.keys.remove(revoked);
        self.by_digest.retain(|_, place| *place != revoked);
        for place in self.by_digest.values_mut().filter(|place| **place > revoked) {
            *place -= 1;
        }
        true
    }

    /// The place of the key with that secret, in the order of [`keys`](Self::keys). It is looked up by the digest, so the time
    /// that this takes reveals nothing about the secret.
    pub fn find(&self, secret: &str) -> Option<usize> {
        if self.by_digest.is_empty() || secret.len() > 1_024 {
            return None;
        }
        self.by_digest.get(&sha256(secret)).copied()
    }

    /// Whether the same key is still there, with the same permissions.
    pub fn has(&self, key: &Key) -> bool {
        key.digest()
            .and_then(|digest| self.by_digest.get(&digest))
            .is_some_and(|&place| *self.keys[place] == *key)
    }

    /// All keys, in the order in which they were added.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn sha256(secret: &str) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    bytes
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why a key, or a file of keys, is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKeys(String);

impl fmt::Display for InvalidKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidKeys {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    fn reports(pattern: &str) -> Permissions {
        Permissions { report: vec![Pattern::parse(pattern).unwrap()], ..Permissions::default() }
    }

    #[test]
    fn a_key_is_found_by_its_secret_and_kept_without_it() {
        let made =
            NewKey::generate("worker", reports("render:*"), "2024-01-01T00:00:00Z".to_owned())
                .unwrap();
        let mut ring = KeyRing::default();
        ring.add(made.key.clone()).unwrap();
        let text = ring.to_toml();
        assert!(made.secret.len() == 47 && !text.contains(&made.secret), "{text}");
        let mut read = KeyRing::parse(&text).unwrap();
        read.add(Key::of_secret("other", "another secret", Permissions::all())).unwrap();
        let found = Arc::clone(&read.keys()[read.find(&made.secret).unwrap()]);
        assert_eq!(*found, made.key);
        assert!(found.permissions.may_report("render:1") && found.permissions.watch.is_empty());
        assert!(read.find("mpk_other").is_none() && read.has(&made.key));
        assert!(read.revoke("worker") && !read.revoke("worker"));
        assert!(read.find(&made.secret).is_none() && !read.has(&made.key));
        assert_eq!(read.find("another secret"), Some(0), "the others move up");
        assert!(read.has(&read.keys()[0]));
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        let error = |text: &str| KeyRing::parse(text).unwrap_err().to_string();
        let digest = "ab".repeat(32);
        let key = |more: &str| {
            format!(
                "[[key]]\nname = \"a\"\nsha256 = \"{digest}\"\ncreated = \"\"\nallow = {{ {more} }}\n"
            )
        };
        assert!(KeyRing::parse("").unwrap().is_empty());
        assert!(error("x = 1").contains("unknown field"), "{}", error("x = 1"));
        assert!(error(&key("report = [\"tag:x\"]")).contains("not by its tags"));
        assert!(error(&key("colour = 1")).contains("colour"), "{}", error(&key("colour = 1")));
        assert!(error(&key("")).contains("allows nothing"));
        assert!(error(&key("watch = [\"*\"]").repeat(2)).contains("already"));
        assert!(
            error(
                "[[key]]\nname = \"a\"\nsha256 = \"00\"\ncreated = \"\"\nallow = { operate = true }"
            )
            .contains("digest")
        );
        assert!(NewKey::generate("a b", reports("*"), String::new()).is_err());
    }
}
