use std::process::Command;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

/// A key pair that openssl makes, and where its public half is published.
struct Issuer {
    directory: tempfile::TempDir,
    key: EncodingKey,
}

impl Issuer {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.der");
        let made = Command::new("sh")
            .arg("-c")
            .arg(
                "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | \
                 openssl pkcs8 -topk8 -nocrypt -outform DER -out \"$0\"",
            )
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "openssl: {made:?}");
        let key = EncodingKey::from_ec_der(&std::fs::read(&path).unwrap());
        let issuer = Self { directory, key };
        issuer.publish("first");
        issuer
    }

    fn jwks(&self) -> String {
        self.directory.path().join("jwks.json").display().to_string()
    }

    fn publish(&self, id: &str) {
        let mut key = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        key.common.key_id = Some(id.to_owned());
        std::fs::write(self.jwks(), serde_json::to_vec(&json!({"keys": [key]})).unwrap()).unwrap();
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id.to_owned());
        encode(&header, claims, &self.key).unwrap()
    }

    fn checker(&self) -> Oidc {
        Oidc::new(OidcSettings {
            issuer: "https://issuer.example".into(),
            audience: "weir".into(),
            jwks: Some(self.jwks()),
            name_claim: Some("email".into()),
            groups_claim: None,
        })
        .unwrap()
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "weir",
        "exp": jsonwebtoken::get_current_timestamp() + 600,
        "email": "alice@example.com",
        "groups": ["payments", 7],
    })
}

#[tokio::test]
async fn a_genuine_token_names_its_owner_and_others_are_refused() {
    let issuer = Issuer::new();
    let oidc = issuer.checker();
    let claimed = oidc.check(&issuer.token("first", &claims())).await.unwrap();
    let groups = vec!["payments".to_owned()];
    assert_eq!(claimed, Claimed { name: "alice@example.com".into(), groups });
    let changed = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        claims
    };
    let wrong = [
        changed("iss", json!("https://other.example")),
        changed("aud", json!("other")),
        changed("exp", json!(1_000_000)),
        changed("exp", Value::Null),
        changed("nbf", json!(jsonwebtoken::get_current_timestamp() + 600)),
        changed("email", json!("")),
        changed("email", json!(7)),
    ];
    for claims in wrong {
        assert!(oidc.check(&issuer.token("first", &claims)).await.is_err(), "{claims}");
    }
    let other = Issuer::new();
    assert!(oidc.check(&other.token("first", &claims())).await.is_err());
    for text in ["", "a.b.c", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
        assert!(oidc.check(text).await.is_err());
    }
}

#[tokio::test]
async fn a_shared_secret_signs_nothing() {
    let issuer = Issuer::new();
    let oidc = issuer.checker();
    // The published key taken for a secret: the classic mistake of checkers.
    let secret = EncodingKey::from_secret(&std::fs::read(issuer.jwks()).unwrap()).unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("first".into());
    let token = encode(&header, &claims(), &secret).unwrap();
    let error = oidc.check(&token).await.unwrap_err().to_string();
    assert!(error.contains("algorithm"), "{error}");
}

#[tokio::test]
async fn a_new_key_is_found_but_not_asked_for_all_the_time() {
    let issuer = Issuer::new();
    let oidc = issuer.checker();
    oidc.check(&issuer.token("first", &claims())).await.unwrap();
    issuer.publish("second");
    // Just read: an unknown name does not make it read again at once.
    assert!(oidc.check(&issuer.token("second", &claims())).await.is_err());
    *oidc.read.lock().await = None;
    oidc.check(&issuer.token("second", &claims())).await.unwrap();
}
