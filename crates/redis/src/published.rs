use std::fmt;

use milepost_protocol::{Position, State};
use sha1_smol::Sha1;

/// The secret with which the proofs of a job's published states are made, in one epoch. Anybody who may read the job's keys
/// can read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A secret chosen by the caller, for simulations of the script.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The proof that the script adds when it publishes the state at that position.
    pub fn proof(&self, position: Position) -> String {
        let mut sha1 = Sha1::new();
        sha1.update(self.0.as_bytes());
        sha1.update(position.to_string().as_bytes());
        let mut digest = sha1.digest().to_string();
        digest.truncate(DIGITS);
        digest
    }
}

/// A message of the report script: a state, and a proof that the script published it. The proof is not part of the state.
#[derive(Clone, Debug)]
pub struct Published {
    /// The state.
    pub state: State,
    proof: Option<String>,
}

const DIGITS: usize = 16;
const PROOF: &str = ",\"proof\":\"";

impl Published {
    /// Parses a message; none if it is not a state.
    pub fn parse(json: &str) -> Option<Self> {
        let (state, proof) = match split(json) {
            Some((fields, proof)) => (State::parse(&format!("{fields}}}")), Some(proof.to_owned())),
            None => (State::parse(json), None),
        };
        Some(Self { state: state.ok()?, proof })
    }

    /// Whether the script published it. Others can only repeat a message that the script has published.
    pub fn is_proven(&self, secret: &Secret) -> bool {
        self.proof.as_deref() == Some(&*secret.proof(self.state.position()))
    }
}

/// Splits a message into the fields before the proof, and the proof.
fn split(json: &str) -> Option<(&str, &str)> {
    let (rest, proof) = json.strip_suffix("\"}")?.rsplit_once('"')?;
    let fields = rest.strip_suffix(&PROOF[..PROOF.len() - 1])?;
    let is_proof = proof.len() == DIGITS && proof.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_proof.then_some((fields, proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"job_id":"a","status":"processing","stage":"s","timestamp":"2026-01-01T00:00:00Z","attempt":1,"position":"1f-2"}"#;

    fn published(proof: &str) -> String {
        format!(r#"{},"proof":"{proof}"}}"#, &STATE[..STATE.len() - 1])
    }

    #[test]
    fn a_proof_is_of_one_position_and_one_secret() {
        let secret = Secret("0123".to_owned());
        // printf 01231f-2 | sha1sum
        let right = "13c042d13216a51a";
        let state = State::parse(STATE).unwrap();
        let message = Published::parse(&published(right)).unwrap();
        assert_eq!(message.state, state, "the proof is no part of it");
        assert!(message.is_proven(&secret));
        assert!(!message.is_proven(&Secret("0124".to_owned())));
        let later = published(right).replace("1f-2", "1f-3");
        assert!(!Published::parse(&later).unwrap().is_proven(&secret));
        let none = Published::parse(STATE).unwrap();
        assert_eq!(none.state, state);
        assert!(!none.is_proven(&secret));
    }

    #[test]
    fn what_only_looks_like_a_proof_is_a_field() {
        for proof in ["", "123", "0123456789abcdeg", "0123456789abcdef0"] {
            let message = Published::parse(&published(proof)).unwrap();
            assert!(message.state.json().contains("proof"), "{proof}");
        }
        for json in ["", "\"}", ",\"proof\":\"0123456789abcdef\"}", "{\"status\":\"processing\"}"] {
            assert!(Published::parse(json).is_none(), "{json}");
        }
    }
}
