//! Where segments are: files in a folder, by number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::path::{Path, PathBuf};

/// The seam for tests without a disk.
pub(crate) trait Folder: Send {
    /// The segments that are there, in any order.
    fn list(&mut self) -> io::Result<Vec<u64>>;
    /// All bytes of a segment.
    fn read(&mut self, number: u64) -> io::Result<Vec<u8>>;
    /// A new segment takes the appends from now on; once synced it survives a power failure.
    fn create(&mut self, number: u64) -> io::Result<()>;
    /// Adds bytes at the end of the newest segment; a part of them may be there after an error.
    fn append(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// What was appended survives a power failure. After an error nobody knows what does.
    fn sync(&mut self) -> io::Result<()>;
    /// The same for what an earlier process appended to a segment.
    fn sync_again(&mut self, number: u64) -> io::Result<()>;
    /// Drops what follows after so many bytes of the newest segment.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Removes a segment.
    fn remove(&mut self, number: u64) -> io::Result<()>;
}

const EXTENSION: &str = "wal";

/// A folder of a file system.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    file: Option<File>,
    /// The newest segment's entry in the folder is not synced yet.
    is_entry_new: bool,
}

impl Directory {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, is_entry_new: false }
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.{EXTENSION}"))
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("there is no segment"))
    }
}

impl Folder for Directory {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    fn read(&mut self, number: u64) -> io::Result<Vec<u8>> {
        fs::read(self.segment(number))
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.segment(number))?;
        (self.file, self.is_entry_new) = (Some(file), true);
        Ok(())
    }

    fn append(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let file = self.file()?;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match file.write_vectored(parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()?;
        if self.is_entry_new {
            File::open(&self.path)?.sync_all()?;
            self.is_entry_new = false;
        }
        Ok(())
    }

    fn sync_again(&mut self, number: u64) -> io::Result<()> {
        File::open(self.segment(number))?.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file()?.set_len(len)
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        fs::remove_file(self.segment(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_files_by_number() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "").unwrap();
        let mut directory = Directory::new(folder.path());
        assert!(directory.append(&mut [IoSlice::new(b"x")]).is_err());
        directory.create(3).unwrap();
        let many = vec![IoSlice::new(b"ab"); 3000];
        let mut parts = [&[IoSlice::new(b"")], many.as_slice()].concat();
        directory.append(&mut parts).unwrap();
        directory.sync().unwrap();
        directory.create(4).unwrap();
        assert_eq!(directory.create(4).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let mut listed = directory.list().unwrap();
        listed.sort_unstable();
        assert_eq!(listed, [3, 4]);
        assert_eq!(directory.read(3).unwrap(), b"ab".repeat(3000));
        directory.remove(4).unwrap();
        directory.create(5).unwrap();
        directory.append(&mut [IoSlice::new(b"whole"), IoSlice::new(b"torn")]).unwrap();
        directory.cut(5).unwrap();
        directory.append(&mut [IoSlice::new(b"!")]).unwrap();
        assert_eq!(directory.read(5).unwrap(), b"whole!");
    }
}
