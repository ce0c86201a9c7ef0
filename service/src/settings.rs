//! Settings from a YAML file and from flags, where a flag wins.
//!
//! A process has one struct for both: every field is an `Option`, clap reads it from the command
//! line and the environment, serde from the file. What it means when nobody set it is decided
//! where the struct is turned into the process's own configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest settings file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any settings file has reason to be.
    #[error("the settings file {} has more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold these settings.
    #[error("the settings file {} is wrong: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Position and cause.
        message: String,
    },
    /// A setting that has no default was not given.
    #[error("setting `{key}` is missing: give --{flag}, or `{key}:` in the settings file")]
    Missing {
        /// Its key in the file.
        key: String,
        /// Its flag without dashes.
        flag: String,
    },
}

/// The flags laid over the file's settings.
///
/// # Errors
/// The file cannot be read, is not YAML, or has a key or a value that `T` does not know.
pub fn merge<T: Serialize + DeserializeOwned>(
    flags: T,
    file: Option<&Path>,
) -> Result<T, SettingsError> {
    let Some(path) = file else { return Ok(flags) };
    let text = read(path)?;
    let wrong = |message: String| SettingsError::Parse { path: path.to_owned(), message };
    let from_file: T = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let mut merged = serde_json::to_value(from_file).map_err(|error| wrong(error.to_string()))?;
    let flags = serde_json::to_value(flags).map_err(|error| wrong(error.to_string()))?;
    if let (Some(merged), serde_json::Value::Object(flags)) = (merged.as_object_mut(), flags) {
        merged.extend(flags.into_iter().filter(|(_, value)| !value.is_null()));
    }
    serde_json::from_value(merged).map_err(|error| wrong(error.to_string()))
}

/// The value, or an error that names the flag and the key.
///
/// # Errors
/// The value is not set.
pub fn required<T>(value: Option<T>, key: &str) -> Result<T, SettingsError> {
    value.ok_or_else(|| SettingsError::Missing { key: key.into(), flag: key.replace('_', "-") })
}

/// A length of time as people write it: `5s`, `1m 30s`, `200ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time such as 5s, 1m30s or 200ms");
        let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        Duration::try_from(parsed).map(Period).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

fn read(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(SettingsError::TooLarge { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        node: Option<String>,
        rows: Option<u64>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = file("node: a\nrows: 5\n");
        let flags = Sample { node: Some("b".into()), rows: None };
        let merged = merge(flags, Some(file.path())).unwrap();
        assert_eq!(merged, Sample { node: Some("b".into()), rows: Some(5) });
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let file = file("node: a\nrowz: 5\n");
        let error = merge(Sample::default(), Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("rowz"), "{error}");
        assert!(error.contains("line 2") || error.contains(":2:"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_refused() {
        let file = file("rows: many\n");
        let error = merge(Sample::default(), Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("settings file"), "{error}");
    }

    #[test]
    fn periods_are_read_and_written() {
        let read = |text: &str| text.parse::<Period>().map(|period| period.0);
        assert_eq!(read("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(read("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(read("200ms"), Ok(Duration::from_millis(200)));
        for wrong in ["", "5", "-5s", "fast"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for period in ["5s", "1m 30s", "200ms"].map(|text| text.parse::<Period>().unwrap()) {
            assert_eq!(period.to_string().parse(), Ok(period));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = merge(Sample::default(), Some(Path::new("/nonexistent/w.yaml"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/w.yaml"));
    }

    #[test]
    fn a_missing_setting_names_key_and_flag() {
        let error = required::<u8>(None, "data_dir").unwrap_err().to_string();
        assert!(error.contains("--data-dir") && error.contains("`data_dir:`"), "{error}");
    }
}
