//! A file of lines that is rotated: at a size, `FILE` becomes `FILE.1`, `FILE.1` becomes `FILE.2`
//! and so on, and the oldest goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::LogFile;

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct RotatedFile {
    config: LogFile,
    /// `None` after it could not be opened.
    file: Option<File>,
    /// Its size.
    bytes: u64,
}

/// How far writing came.
pub(super) struct Written {
    /// Records that are in the file.
    pub(super) records: u64,
    /// Why the others are not, or why the file could not be rotated.
    pub(super) error: Option<io::Error>,
}

impl RotatedFile {
    /// Opens the file, or makes it.
    pub(super) fn open(config: LogFile) -> io::Result<Self> {
        let mut file = Self { config, file: None, bytes: 0 };
        file.reopen()?;
        Ok(file)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.config.path
    }

    /// Appends whole lines.
    pub(super) fn append(&mut self, lines: &[String]) -> Written {
        let mut written = Written { records: 0, error: None };
        if let Err(error) = self.follow() {
            written.error = Some(error);
            return written;
        }
        let mut block = String::new();
        let mut in_block = 0;
        for line in lines {
            let full = self.bytes + (block.len() + line.len()) as u64 > self.config.max_bytes;
            if full && self.bytes + block.len() as u64 > 0 {
                if !self.write(&mut block, &mut in_block, &mut written) {
                    return written;
                }
                if let Err(error) = self.rotate() {
                    written.error = Some(error);
                    if self.file.is_none() {
                        return written;
                    }
                }
            }
            block.push_str(line);
            in_block += 1;
        }
        self.write(&mut block, &mut in_block, &mut written);
        written
    }

    /// Writes the block and empties it; whether that worked.
    fn write(&mut self, block: &mut String, lines: &mut u64, written: &mut Written) -> bool {
        let Some(file) = &mut self.file else { return false };
        if let Err(error) = file.write_all(block.as_bytes()) {
            // No half line stays, or the next one would be spoilt as well.
            if file.set_len(self.bytes).is_err() {
                self.file = None;
            }
            written.error = Some(error);
            return false;
        }
        self.bytes += block.len() as u64;
        written.records += *lines;
        block.clear();
        *lines = 0;
        true
    }

    /// Opens the path anew if it is no longer this file: someone moved it or took it away.
    fn follow(&mut self) -> io::Result<()> {
        let same = match (&self.file, fs::metadata(&self.config.path)) {
            (Some(file), Ok(there)) => {
                let own = file.metadata()?;
                (own.dev(), own.ino()) == (there.dev(), there.ino())
            }
            _ => false,
        };
        if same { Ok(()) } else { self.reopen() }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        let file =
            OpenOptions::new().append(true).create(true).mode(0o640).open(&self.config.path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Begins another file. If the old one cannot be moved, it goes on.
    fn rotate(&mut self) -> io::Result<()> {
        if self.config.kept == 0 {
            fs::remove_file(&self.config.path)?;
            return self.reopen();
        }
        for number in (1..self.config.kept).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.config.path, self.numbered(1))?;
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path, max_bytes: u64, kept: u32) -> RotatedFile {
        let path = directory.join("log");
        RotatedFile::open(LogFile { path, max_bytes, kept }).unwrap()
    }

    fn lines(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| format!("line {n:04}\n")).collect()
    }

    fn read(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join(name)).unwrap_or_else(|_| "absent".to_owned())
    }

    #[test]
    fn it_is_rotated_between_lines_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        // Ten bytes a line: three lines a file.
        let mut log = file(directory, 35, 2);
        assert_eq!(log.append(&lines(0..2)).records, 2);
        let written = log.append(&lines(2..11));
        assert_eq!((written.records, written.error.is_none()), (9, true));
        assert_eq!(read(directory, "log"), lines(9..11).concat());
        assert_eq!(read(directory, "log.1"), lines(6..9).concat());
        assert_eq!(read(directory, "log.2"), lines(3..6).concat());
        assert_eq!(read(directory, "log.3"), "absent");
        // Another process goes on where this one ended.
        drop(log);
        let mut log = file(directory, 35, 2);
        log.append(&lines(11..13));
        assert_eq!(read(directory, "log.1"), lines(9..12).concat());
        assert_eq!(read(directory, "log"), lines(12..13).concat());
    }

    #[test]
    fn a_line_that_is_larger_than_a_file_is_written_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = file(directory.path(), 5, 1);
        assert_eq!(log.append(&lines(0..3)).records, 3);
        assert_eq!(read(directory.path(), "log"), lines(2..3).concat());
        assert_eq!(read(directory.path(), "log.1"), lines(1..2).concat());
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = file(directory.path(), 1_000, 1);
        log.append(&lines(0..1));
        fs::rename(directory.path().join("log"), directory.path().join("moved")).unwrap();
        log.append(&lines(1..2));
        assert_eq!(read(directory.path(), "log"), lines(1..2).concat());
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_leaves_no_half_line() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let mut log = file(&inner, 1_000, 1);
        log.append(&lines(0..1));
        fs::remove_dir_all(&inner).unwrap();
        let written = log.append(&lines(1..4));
        assert_eq!(written.records, 0);
        assert!(written.error.is_some());
        fs::create_dir(&inner).unwrap();
        assert_eq!(log.append(&lines(4..5)).records, 1);
        assert_eq!(read(&inner, "log"), lines(4..5).concat());
        // A disk without room.
        let path = PathBuf::from("/dev/full");
        let mut full = RotatedFile::open(LogFile { path, max_bytes: 1_000, kept: 1 }).unwrap();
        let written = full.append(&lines(0..2));
        assert_eq!(written.records, 0);
        assert_eq!(written.error.unwrap().raw_os_error(), Some(libc::ENOSPC));
    }
}
