//! Where a store is: a path or a URL, and options for the client of a cloud.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::OpenError;

/// A directory or a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    text: String,
    options: Vec<String>,
}

/// What a location means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Directory(PathBuf),
    Bucket { kind: Kind, bucket: &'a str, prefix: &'a str },
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Google,
    Azure,
}

impl Location {
    /// A path, or a URL with scheme `file`, `s3`, `gs` or `az`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), options: Vec::new() }
    }

    /// With options `KEY=VALUE` for the cloud's client; they win over the environment.
    #[must_use]
    pub fn with_options(self, options: impl IntoIterator<Item = String>) -> Self {
        Self { options: options.into_iter().collect(), ..self }
    }

    /// The path or URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<PathBuf> {
        match self.place() {
            Ok(Place::Directory(path)) => Some(path),
            _ => None,
        }
    }

    pub(crate) fn place(&self) -> Result<Place<'_>, OpenError> {
        let wrong =
            |cause: &str| OpenError::Location { location: self.text.clone(), cause: cause.into() };
        let Some((scheme, rest)) = self.text.split_once("://") else {
            if self.text.is_empty() {
                return Err(wrong("it is empty"));
            }
            return Ok(Place::Directory(PathBuf::from(&self.text)));
        };
        let kind = match scheme {
            "file" if rest.starts_with('/') => return Ok(Place::Directory(PathBuf::from(rest))),
            "file" => return Err(wrong("its path does not begin with /")),
            "s3" | "s3a" => Kind::S3,
            "gs" => Kind::Google,
            "az" | "azure" => Kind::Azure,
            _ => return Err(wrong("unknown scheme")),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("it names no bucket"));
        }
        Ok(Place::Bucket { kind, bucket, prefix: prefix.trim_matches('/') })
    }

    /// Keys and values.
    pub(crate) fn options(&self) -> impl Iterator<Item = Option<(&str, &str)>> {
        self.options.iter().map(|option| option.split_once('='))
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::new(path.to_string_lossy())
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Options may be secrets.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.options().flatten().map(|(key, _)| key).collect();
        f.debug_struct("Location").field("text", &self.text).field("options", &keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls() {
        let directory = |text: &str| Location::new(text).directory();
        assert_eq!(directory("/var/lib/weir"), Some("/var/lib/weir".into()));
        assert_eq!(directory("data"), Some("data".into()));
        assert_eq!(directory("file:///var/lib/weir"), Some("/var/lib/weir".into()));
        let s3 = Location::new("s3://flows/a/b/");
        let expected = Place::Bucket { kind: Kind::S3, bucket: "flows", prefix: "a/b" };
        assert_eq!(s3.place().unwrap(), expected);
        for wrong in ["", "file://data", "s3://", "s3:///x", "ftp://host/x"] {
            let error = Location::new(wrong).place().unwrap_err().to_string();
            assert!(error.contains("s3://BUCKET/PREFIX"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let location = Location::new("s3://b").with_options(["secret_access_key=hush".into()]);
        let printed = format!("{location:?} {location}");
        assert!(printed.contains("secret_access_key") && !printed.contains("hush"), "{printed}");
    }
}
