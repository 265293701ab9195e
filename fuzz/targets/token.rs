//! What the server reads of credentials: tokens, whatever is signed in them, patterns, and the file of keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_access::{KeyRing, Pattern, TokenKeys, TokenRules, TokenVerifier};

const SECRET: &str = "a secret of thirty-two bytes, and more";

fuzz_target!(|text: &str| {
    let verifier = TokenVerifier::new(
        TokenKeys::secret(SECRET).expect("it is long enough"),
        TokenRules::default(),
    );
    // Nothing that was not signed is believed.
    assert!(verifier.verify(text, 1e9).is_err());
    if let Ok(pattern) = Pattern::parse(text) {
        assert_eq!(Pattern::parse(&pattern.to_string()).as_ref(), Ok(&pattern));
        assert!(pattern.covers(&pattern) && Pattern::all().covers(&pattern));
    }
    if let Ok(keys) = KeyRing::parse(text) {
        assert!(keys.find(text).is_none() || !text.is_empty());
    }
    let _ = TokenKeys::file(text);
    if let Ok(permissions) = serde_json::from_str::<milepost_access::Permissions>(text) {
        let again = serde_json::to_string(&permissions).expect("it can be written");
        assert_eq!(
            serde_json::from_str::<milepost_access::Permissions>(&again).ok(),
            Some(permissions)
        );
    }
});
