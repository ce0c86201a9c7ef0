//! JSON Web Tokens of an issuer (OpenID Connect Core, RFC 7519), checked against its published keys
//! (RFC 7517).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::Denied;
use super::settings::OidcSettings;
use crate::error::StartError;

/// Longest token.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Largest key set or discovery document.
const MAX_KEYS_BYTES: usize = 1024 * 1024;
/// Most groups of one token.
const MAX_GROUPS: usize = 1_000;
/// Keys are read again at most so often.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// How long the issuer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Signatures with public keys only: with a shared secret whoever checks could sign too.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Oidc {
    keys: ArcSwap<JwkSet>,
    place: Place,
    read: Mutex<Option<Instant>>,
    issuer: String,
    audience: String,
    name_claim: String,
    groups_claim: String,
}

/// Where the keys are.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Url(String),
    /// The issuer's discovery document says it.
    Discovered,
}

/// Who a token is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
}

impl Oidc {
    /// # Errors
    /// Issuer or audience is missing. The keys are read when the first token comes.
    pub(super) fn new(settings: OidcSettings) -> Result<Self, StartError> {
        let OidcSettings { issuer, audience, jwks, name_claim, groups_claim } = settings;
        if issuer.is_empty() || audience.is_empty() {
            return Err(StartError::Access(
                "access.oidc: both `issuer` and `audience` have to be given".into(),
            ));
        }
        let place = match jwks {
            None => Place::Discovered,
            Some(place) if place.starts_with("http://") || place.starts_with("https://") => {
                Place::Url(place)
            }
            Some(path) => Place::File(path.into()),
        };
        Ok(Self {
            keys: ArcSwap::from_pointee(JwkSet { keys: vec![] }),
            place,
            read: Mutex::new(None),
            issuer,
            audience,
            name_claim: name_claim.unwrap_or_else(|| "sub".into()),
            groups_claim: groups_claim.unwrap_or_else(|| "groups".into()),
        })
    }

    /// Who the token is of, if it is genuine and of now.
    pub(super) async fn check(&self, token: &str) -> Result<Claimed, Denied> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Denied::new("the token is too long"));
        }
        let header = decode_header(token).map_err(|error| Denied::token(&error))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Denied::new("the token's algorithm is not accepted"));
        }
        let key = self.key(header.kid.as_deref()).await?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        let claims = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|error| Denied::token(&error))?
            .claims;
        self.claimed(&claims)
    }

    fn claimed(&self, claims: &Map<String, Value>) -> Result<Claimed, Denied> {
        let name = claims.get(&self.name_claim).and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
            Denied::new(format!("the token has no text in its claim {:?}", self.name_claim))
        })?;
        let groups = match claims.get(&self.groups_claim) {
            Some(Value::Array(groups)) if groups.len() <= MAX_GROUPS => {
                groups.iter().filter_map(|group| Some(group.as_str()?.to_owned())).collect()
            }
            Some(Value::Array(_)) => {
                return Err(Denied::new(format!("the token has more than {MAX_GROUPS} groups")));
            }
            Some(Value::String(group)) => vec![group.clone()],
            _ => vec![],
        };
        Ok(Claimed { name: name.to_owned(), groups })
    }

    /// The key of that name, or the only one.
    async fn key(&self, id: Option<&str>) -> Result<DecodingKey, Denied> {
        if let Some(key) = find(&self.keys.load(), id) {
            return key;
        }
        self.read_again().await?;
        find(&self.keys.load(), id)
            .unwrap_or_else(|| Err(Denied::new("the token is signed with a key that is not known")))
    }

    /// Reads the keys, unless somebody did just now.
    async fn read_again(&self) -> Result<(), Denied> {
        let mut read = self.read.lock().await;
        if read.is_some_and(|read| read.elapsed() < READ_AGAIN) {
            return Ok(());
        }
        *read = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                Ok(())
            }
            Err(cause) => {
                tracing::error!(%cause, "the keys of access.oidc cannot be read");
                Err(Denied::new("the keys to check the token with cannot be read at present"))
            }
        }
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        let text = match &self.place {
            Place::File(path) => {
                tokio::fs::read(path).await.map_err(|e| format!("{}: {e}", path.display()))?
            }
            Place::Url(url) => get(url).await?,
            Place::Discovered => {
                let issuer = self.issuer.trim_end_matches('/');
                let found = get(&format!("{issuer}/.well-known/openid-configuration")).await?;
                let found: Discovery =
                    serde_json::from_slice(&found).map_err(|error| error.to_string())?;
                if found.issuer != self.issuer {
                    return Err(format!("{issuer} says that its name is {:?}", found.issuer));
                }
                get(&found.jwks_uri).await?
            }
        };
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}

fn find(keys: &JwkSet, id: Option<&str>) -> Option<Result<DecodingKey, Denied>> {
    let key = match (id, keys.keys.as_slice()) {
        (Some(id), _) => keys.find(id)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    Some(DecodingKey::from_jwk(key).map_err(|error| Denied::token(&error)))
}

async fn get(url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| format!("{url}: {error}");
    let client = reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(failed)?;
    let mut response = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_KEYS_BYTES {
            return Err(format!("{url}: more than {MAX_KEYS_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
