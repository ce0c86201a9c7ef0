//! Secrets that clients send as they are. Only their digests are kept.

use sha2::{Digest as _, Sha256};

use super::settings::TokenSettings;
use crate::error::StartError;
use crate::reload::Reloaded;

/// Shortest secret read from a file.
const MIN_SECRET_BYTES: usize = 16;

/// Whose secret has which digest.
#[derive(Debug)]
pub(crate) struct Tokens(Vec<([u8; 32], String)>);

impl Tokens {
    /// Made anew when a file of theirs changes.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub(super) fn open(settings: Vec<TokenSettings>) -> Result<Reloaded<Self>, StartError> {
        let files = settings.iter().filter_map(|token| token.file.clone()).collect();
        Reloaded::new("the tokens of access", files, move || Self::new(settings.clone()))
    }

    /// # Errors
    /// A token has no name, no secret, or two; or its file cannot be read.
    fn new(settings: Vec<TokenSettings>) -> Result<Self, StartError> {
        settings.into_iter().map(token).collect::<Result<_, _>>().map(Self)
    }

    /// Whose secret it is. All digests are compared, so that the time says nothing.
    pub(super) fn whose(&self, secret: &str) -> Option<&str> {
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        self.0.iter().fold(None, |found, (known, name)| {
            let differs = known.iter().zip(&digest).fold(0, |sum, (a, b)| sum | (a ^ b));
            if differs == 0 { Some(name.as_str()) } else { found }
        })
    }
}

fn token(settings: TokenSettings) -> Result<([u8; 32], String), StartError> {
    let TokenSettings { name, sha256, file } = settings;
    let wrong = |what: String| StartError::Access(format!("access.tokens: token {name:?}: {what}"));
    if name.is_empty() {
        return Err(wrong("it has no `name`".into()));
    }
    let digest = match (sha256, file) {
        (Some(text), None) => {
            digest(&text).ok_or_else(|| wrong("`sha256` is not 64 hexadecimal digits".into()))?
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
            let secret = text.trim();
            if secret.len() < MIN_SECRET_BYTES {
                return Err(wrong(format!(
                    "the secret in {} has fewer than {MIN_SECRET_BYTES} bytes",
                    path.display()
                )));
            }
            Sha256::digest(secret.as_bytes()).into()
        }
        _ => return Err(wrong("give it either `sha256` or `file`".into())),
    };
    Ok((digest, name))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn settings(name: &str, sha256: Option<&str>) -> TokenSettings {
        TokenSettings { name: name.into(), sha256: sha256.map(str::to_owned), file: None }
    }

    #[test]
    fn a_secret_is_known_by_its_digest() {
        let tokens = Tokens::new(vec![settings("alice", Some(OF_SECRET))]).unwrap();
        assert_eq!(tokens.whose("secret"), Some("alice"));
        assert_eq!(tokens.whose("Secret"), None);
        assert_eq!(tokens.whose(""), None);
        assert!(!format!("{tokens:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for wrong in [
            settings("", Some(OF_SECRET)),
            settings("a", None),
            settings("a", Some("12")),
            settings("a", Some(&"x".repeat(64))),
        ] {
            assert!(Tokens::new(vec![wrong]).is_err());
        }
    }
}
