//! The file that tells a starting script where the doors are.

use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

/// Writes `doors` as JSON in one step: a reader sees the whole file or none.
///
/// # Errors
/// The directory is not writable, or the disk is full.
pub fn write<T: Serialize>(path: &Path, doors: &T) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = Path::new(&name);
    let written = (|| {
        let mut file = std::fs::File::create(temporary)?;
        serde_json::to_writer(&mut file, doors)?;
        file.write_all(b"\n")?;
        std::fs::rename(temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_file_appears_whole_and_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready.json");
        super::write(&path, &serde_json::json!({"http": "127.0.0.1:8080"})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"http\":\"127.0.0.1:8080\"}\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(super::write(&directory.path().join("no/ready"), &1).is_err());
    }
}
