//! Tokens that are accepted, and attacks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use milepost_access::{
    Pattern, Permissions, TokenError, TokenKeys, TokenRules, TokenVerifier, sign,
};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use serde_json::{Value, json};

const SECRET: &str = "a secret of thirty-two bytes, and more";
const NOW: f64 = 1_700_000_000.0;

fn watches(pattern: &str) -> Permissions {
    Permissions { watch: vec![Pattern::parse(pattern).unwrap()], ..Permissions::default() }
}

fn verifier(keys: TokenKeys) -> TokenVerifier {
    TokenVerifier::new(keys, TokenRules { leeway: 10.0, ..TokenRules::default() })
}

fn shared() -> TokenVerifier {
    verifier(TokenKeys::secret(SECRET).unwrap())
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// A token with this header and these claims, signed with HS256 and this secret.
fn forge(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

fn good() -> Value {
    json!({ "exp": NOW + 60.0, "milepost": { "watch": ["a*"] } })
}

#[test]
fn white_space_around_a_secret_does_not_count() {
    let spaced = format!(" {SECRET}\n");
    for (signing, verifying) in [(SECRET, &*spaced), (&*spaced, SECRET), (&*spaced, &*spaced)] {
        let watch = vec![Pattern::parse("a").unwrap()];
        let permissions = Permissions { watch, ..Permissions::default() };
        let token = sign(signing, permissions, None, &TokenRules::default(), NOW + 60.0).unwrap();
        verifier(TokenKeys::secret(verifying).unwrap()).verify(&token, NOW).unwrap();
    }
    assert!(TokenKeys::secret(&" ".repeat(100)).is_err());
}

#[test]
fn what_is_signed_is_verified() {
    let permissions = Permissions { view: milepost_protocol::View::Public, ..watches("user:42:*") };
    let rules = TokenRules {
        issuer: Some("app".to_owned()),
        audience: Some("milepost".to_owned()),
        leeway: 10.0,
    };
    let token =
        sign(SECRET, permissions.clone(), Some("42".to_owned()), &rules, NOW + 60.5).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert!(claims["exp"].is_u64(), "{claims}");
    let verified =
        TokenVerifier::new(TokenKeys::secret(SECRET).unwrap(), rules).verify(&token, NOW).unwrap();
    assert_eq!(verified.permissions, permissions);
    assert_eq!((verified.expires, verified.subject.as_deref()), (NOW + 70.0, Some("42")));
}

#[test]
fn each_algorithm_by_key_and_by_set() {
    let random = SystemRandom::new();
    let ec_private =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec_private.as_ref(), &random)
            .unwrap();
    let point = ec.public_key().as_ref();
    let ed_private = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(ed_private.as_ref()).unwrap();
    let rsa =
        RsaKeyPair::from_pkcs8(&STANDARD.decode(include_str!("rsa.pkcs8.base64").trim()).unwrap())
            .unwrap();
    let modulus = ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public()).n;

    let set = json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) },
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": URL_SAFE_NO_PAD.encode(ed.public_key()) },
        { "kty": "RSA", "kid": "rsa", "alg": "RS256", "n": URL_SAFE_NO_PAD.encode(&modulus), "e": "AQAB" },
        { "kty": "oct", "kid": "shared", "k": URL_SAFE_NO_PAD.encode(SECRET) },
    ] });
    let by_set = verifier(TokenKeys::file(&set.to_string()).unwrap());
    // A key without a name verifies tokens that name another.
    let sign = |alg: &str, kid: &str, signature: &dyn Fn(&[u8]) -> Vec<u8>| {
        let message = format!("{}.{}", part(&json!({ "alg": alg, "kid": kid })), part(&good()));
        let signature = URL_SAFE_NO_PAD.encode(signature(message.as_bytes()));
        format!("{message}.{signature}")
    };
    let ec_sign = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
    let ed_sign = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    let rsa_sign = |message: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&ring::signature::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
        signature
    };
    for token in [
        sign("ES256", "ec", &ec_sign),
        sign("EdDSA", "ed", &ed_sign),
        sign("RS256", "rsa", &rsa_sign),
    ] {
        by_set.verify(&token, NOW).unwrap();
    }
    // Each key is for its own algorithm and its own name.
    for token in [
        sign("ES256", "ed", &ec_sign),
        sign("EdDSA", "rsa", &ed_sign),
        sign("EdDSA", "other", &ed_sign),
    ] {
        assert_eq!(by_set.verify(&token, NOW), Err(TokenError::UnknownKey));
    }
    assert_eq!(
        by_set.verify(
            &forge(&json!({ "alg": "HS256", "kid": "shared" }), &good(), SECRET.as_bytes()),
            NOW
        ),
        Err(TokenError::UnknownKey)
    );

    // By PEM: the prefixes are those of a SubjectPublicKeyInfo (RFC 5480, RFC 8410).
    let ec_info =
        [&hex("3059301306072a8648ce3d020106082a8648ce3d030107034200")[..], point].concat();
    let ed_info = [&hex("302a300506032b6570032100")[..], ed.public_key().as_ref()].concat();
    for (key, token) in
        [(ec_info, sign("ES256", "x", &ec_sign)), (ed_info, sign("EdDSA", "x", &ed_sign))]
    {
        let by_pem = verifier(TokenKeys::file(&pem("PUBLIC KEY", &key)).unwrap());
        by_pem.verify(&token, NOW).unwrap();
    }
    let rsa_pem = verifier(TokenKeys::file(&pem("RSA PUBLIC KEY", rsa.public().as_ref())).unwrap());
    rsa_pem.verify(&sign("RS256", "x", &rsa_sign), NOW).unwrap();

    // Signed here, with private keys in PEM.
    for (private, keys) in [(ec_private.as_ref(), &by_set), (ed_private.as_ref(), &by_set)] {
        let token = milepost_access::sign(
            &pem("PRIVATE KEY", private),
            watches("a"),
            None,
            &TokenRules::default(),
            NOW + 9.0,
        );
        keys.verify(&token.unwrap(), NOW).unwrap();
    }
    // A public key used as the secret of HS256.
    let public = pem("RSA PUBLIC KEY", rsa.public().as_ref());
    for secret in [public.as_bytes(), public.trim().as_bytes(), rsa.public().as_ref(), &modulus] {
        let confused = forge(&json!({ "alg": "HS256" }), &good(), secret);
        assert_eq!(rsa_pem.verify(&confused, NOW), Err(TokenError::UnknownKey));
        let named = forge(&json!({ "alg": "HS256", "kid": "rsa" }), &good(), secret);
        assert_eq!(by_set.verify(&named, NOW), Err(TokenError::UnknownKey));
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn forgeries_are_refused() {
    let verify = |token: &str| shared().verify(token, NOW);
    let hs256 = json!({ "alg": "HS256", "typ": "JWT" });
    let token = forge(&hs256, &good(), SECRET.as_bytes());
    assert!(verify(&token).is_ok());
    assert_eq!(
        verify(&forge(&hs256, &good(), b"another secret of 32 bytes or more")),
        Err(TokenError::Signature)
    );
    for alg in ["none", "None", "NONE", "nOnE", "", "HS1"] {
        let header = json!({ "alg": alg });
        assert_eq!(
            verify(&forge(&header, &good(), SECRET.as_bytes())),
            Err(TokenError::Malformed),
            "{alg}"
        );
        assert_eq!(
            verify(&format!("{}.{}.", part(&header), part(&good()))),
            Err(TokenError::Malformed),
            "{alg}"
        );
    }
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"] {
        assert_eq!(
            verify(&forge(&json!({ "alg": alg }), &good(), SECRET.as_bytes())),
            Err(TokenError::UnknownKey),
            "{alg}"
        );
    }
    // Keys inside the token, and headers that name URLs or files.
    let own = json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "YQ" }, "jku": "http://evil.example/", "x5u": "http://evil.example/" });
    assert_eq!(verify(&forge(&own, &good(), b"a")), Err(TokenError::Signature));
    for kid in ["../../../../dev/null", "' OR 1=1 --", "", "\u{0}", &"k".repeat(4_000)] {
        let forged = forge(&json!({ "alg": "HS256", "kid": kid }), &good(), b"");
        assert_eq!(verify(&forged), Err(TokenError::Signature), "{kid}");
    }
    // Another payload with the same signature; one part too many or too few.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let all = part(&json!({ "exp": NOW + 60.0, "milepost": { "watch": ["*"] } }));
    let other = format!("{}.{all}.{signature}", head.split_once('.').unwrap().0);
    assert_eq!(verify(&other), Err(TokenError::Signature));
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        head,
        &format!("{token}.x"),
        &format!("{token}="),
        &format!(" {token}"),
    ] {
        assert!(verify(bad).is_err(), "{bad}");
    }
    assert_eq!(verify(&format!("{token}{}", "A".repeat(8_192))), Err(TokenError::TooLong));
}

#[test]
fn claims_are_read_strictly() {
    let verify = |claims: Value| {
        shared().verify(&forge(&json!({ "alg": "HS256" }), &claims, SECRET.as_bytes()), NOW)
    };
    let with = |key: &str, value: Value| {
        let mut claims = good();
        claims[key] = value;
        verify(claims)
    };
    // 10 s of leeway.
    assert_eq!(with("exp", json!(NOW - 10.0)), Err(TokenError::Expired));
    assert!(with("exp", json!(NOW - 9.0)).is_ok());
    assert_eq!(with("nbf", json!(NOW + 11.0)), Err(TokenError::NotYet));
    assert!(with("nbf", json!(NOW + 9.0)).is_ok());
    assert_eq!(with("aud", json!("another")), Err(TokenError::Audience));
    let is_claims = |verified| matches!(verified, Err(TokenError::Claims(_)));
    for exp in [json!(null), json!("9999999999"), json!([1]), json!({})] {
        assert!(is_claims(with("exp", exp.clone())), "{exp}");
    }
    assert!(is_claims(with("nbf", json!("0"))));
    for allowed in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "watch": [] }),
        json!({ "watch": "*" }),
        json!({ "watch": ["a*b"] }),
        json!({ "report": ["tag:user:42"] }),
        json!({ "watch": ["tag:"] }),
        json!({ "watch": ["*"], "admin": true }),
        json!({ "watch": ["*"], "view": "none" }),
        json!({ "watch": vec!["a"; 101] }),
    ] {
        assert!(is_claims(with("milepost", allowed.clone())), "{allowed}");
    }
    assert!(is_claims(verify(json!({ "exp": NOW + 60.0 }))));
    assert!(verify(json!({ "milepost": { "watch": ["*"] } })).is_err());
}

#[test]
fn issuer_and_audience_must_be_those_expected() {
    let rules = TokenRules {
        issuer: Some("app".to_owned()),
        audience: Some("milepost".to_owned()),
        leeway: 0.0,
    };
    let verifier = TokenVerifier::new(TokenKeys::secret(SECRET).unwrap(), rules);
    let verify = |issuer: Value, audience: Value| {
        let mut claims = good();
        claims["iss"] = issuer;
        claims["aud"] = audience;
        verifier.verify(&forge(&json!({ "alg": "HS256" }), &claims, SECRET.as_bytes()), NOW)
    };
    assert!(verify(json!("app"), json!("milepost")).is_ok());
    assert!(verify(json!("app"), json!(["other", "milepost"])).is_ok());
    for (issuer, audience, error) in [
        (json!("app"), json!("other"), TokenError::Audience),
        (json!("app"), json!(null), TokenError::Audience),
        (json!("evil"), json!("milepost"), TokenError::Issuer),
        (json!(null), json!("milepost"), TokenError::Issuer),
    ] {
        assert_eq!(verify(issuer.clone(), audience.clone()), Err(error), "{issuer} {audience}");
    }
}

#[test]
fn weak_and_wrong_keys_are_refused() {
    for bad in [
        "",
        "short",
        "{}",
        r#"{"keys":[]}"#,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    ] {
        assert!(TokenKeys::file(bad).is_err(), "{bad}");
    }
    let error = TokenKeys::file(&pem("PRIVATE KEY", b"x")).unwrap_err().to_string();
    assert!(error.contains("private key"), "{error}");
    assert!(sign("short", watches("a"), None, &TokenRules::default(), NOW).is_err());
    assert!(sign(SECRET, Permissions::default(), None, &TokenRules::default(), NOW).is_err());
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        prop_assert!(shared().verify(&text, NOW).is_err());
        prop_assert!(shared().verify(&parts.join("."), NOW).is_err());
    }
}
