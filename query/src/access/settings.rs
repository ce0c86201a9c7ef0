//! The settings `access` of the query service.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who may come in, and what each sees. Without it everybody who reaches a door sees everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Secrets that clients send as they are.
    pub tokens: Vec<TokenSettings>,
    /// JSON Web Tokens of an issuer.
    pub oidc: Option<OidcSettings>,
    /// Certificates (PEM) that sign those of clients; needs `tls`. The principal's name is the
    /// certificate's first URI, else its first DNS name, else its common name. Read again when it changes.
    pub client_ca: Option<PathBuf>,
    /// What principals see. Whoever has no grant is let in and sees nothing.
    pub grants: Vec<GrantSettings>,
}

/// One secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// The principal.
    pub name: String,
    /// The SHA-256 of the secret, hexadecimal: `printf %s SECRET | sha256sum`.
    pub sha256: Option<String>,
    /// Or a file with the secret itself; a new one is taken when the file changes.
    pub file: Option<PathBuf>,
}

/// Whose JSON Web Tokens are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcSettings {
    /// What `iss` has to be; its `/.well-known/openid-configuration` names the keys if `jwks` does not.
    pub issuer: String,
    /// What `aud` has to be or contain.
    pub audience: String,
    /// The keys: a URL, or the path of a file. Read again when a token names a key that is not among them.
    pub jwks: Option<String>,
    /// The claim that is the principal's name [default: sub].
    pub name_claim: Option<String>,
    /// The claim that lists its groups [default: groups].
    pub groups_claim: Option<String>,
}

/// What some principals see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrantSettings {
    /// Principals by name; `*` is everybody whom the doors let in.
    pub principals: Vec<String>,
    /// Everybody of these groups.
    pub groups: Vec<String>,
    /// Namespaces: `shop`, `shop-*`, or `*` for everything.
    pub namespaces: Vec<String>,
    /// May also see and end the queries of others.
    pub admin: bool,
}

/// A certificate and its key for all doors; new ones are taken when the files change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate and those between it and its root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}
