//! Settings from a YAML file and from flags, where a flag wins.
//!
//! A process has one struct for both: every field is an `Option`, clap reads it from the command
//! line and the environment, serde from the file. What it means when nobody set it is decided
//! where the struct is turned into the process's own configuration.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

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
