//! Who comes in, and what each sees.
//!
//! A door hands over what a client shows ([`Credentials`]) and gets a [`Principal`]; each query runs
//! for one, and the tables leave out what that one does not see ([`crate::catalog`]). No door
//! filters rows by itself.

mod certificate;
mod grants;
mod oidc;
mod principal;
mod settings;
mod tokens;

use std::sync::Arc;

pub use principal::{NamespacePattern, Namespaces, Principal};
pub use settings::{AccessSettings, GrantSettings, OidcSettings, TlsSettings, TokenSettings};

pub(crate) use certificate::name as certificate_name;
pub(crate) use tokens::Tokens;

use crate::error::StartError;
use crate::reload::Reloaded;
use grants::Grants;
use oidc::Oidc;

/// What a client shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credentials<'a> {
    /// A token or password.
    pub(crate) secret: Option<&'a str>,
    /// The name in a certificate that was checked.
    pub(crate) certificate: Option<&'a str>,
}

/// Why somebody is not let in; for the client to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(String);

/// Lets in.
#[derive(Debug)]
pub(crate) enum Access {
    /// Everybody, to everything.
    Off,
    /// Whom the settings name.
    On(Box<Gate>),
}

/// Whom the settings name.
#[derive(Debug)]
pub(crate) struct Gate {
    tokens: Arc<Reloaded<Tokens>>,
    oidc: Option<Oidc>,
    grants: Grants,
}

impl Access {
    /// # Errors
    /// The settings are wrong, or a file that they name cannot be read.
    pub(crate) fn new(settings: Option<AccessSettings>) -> Result<Self, StartError> {
        let Some(settings) = settings else { return Ok(Self::Off) };
        let AccessSettings { tokens, oidc, client_ca, grants } = settings;
        if tokens.is_empty() && oidc.is_none() && client_ca.is_none() {
            return Err(StartError::Access(
                "access: nobody could come in: give `tokens`, `oidc` or `client_ca`".into(),
            ));
        }
        Ok(Self::On(Box::new(Gate {
            tokens: Arc::new(Tokens::open(tokens)?),
            oidc: oidc.map(Oidc::new).transpose()?,
            grants: Grants::new(grants)?,
        })))
    }

    /// What is made anew when files change.
    pub(crate) fn tokens(&self) -> Option<Arc<Reloaded<Tokens>>> {
        match self {
            Self::Off => None,
            Self::On(gate) => Some(gate.tokens.clone()),
        }
    }

    /// Whether anybody is turned away.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }

    /// Who it is.
    pub(crate) async fn admit(&self, shown: Credentials<'_>) -> Result<Arc<Principal>, Denied> {
        let Self::On(gate) = self else { return Ok(Principal::everyone()) };
        let Some(secret) = shown.secret else {
            return match shown.certificate {
                Some(name) => Ok(gate.grants.principal(name, &[])),
                None => Err(Denied::new(
                    "access control is on: send a token (HTTP and gRPC: the header `authorization: Bearer TOKEN`; \
                     Postgres: as the password) or a client certificate",
                )),
            };
        };
        if let Some(name) = gate.tokens.now().whose(secret) {
            return Ok(gate.grants.principal(name, &[]));
        }
        match &gate.oidc {
            Some(oidc) if secret.matches('.').count() == 2 => {
                let claimed = oidc.check(secret).await?;
                Ok(gate.grants.principal(&claimed.name, &claimed.groups))
            }
            _ => Err(Denied::new("the token is not known")),
        }
    }
}

impl Denied {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn token(error: &jsonwebtoken::errors::Error) -> Self {
        Self(format!("the token is not accepted: {error}"))
    }
}
