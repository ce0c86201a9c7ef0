//! Where the bytes of journal and segments are.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IoSlice, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The seam for tests without a file system. Names are plain file names. What is written outlives the
/// process; it outlives the machine once it is synced.
pub(crate) trait Files: Send + Sync {
    /// Each file with its length; none if the directory does not exist.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Reads from a position on, until `into` is full or the file ends. Returns how many bytes.
    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Adds bytes at the end; a part of them may be there after an error. Makes the file if there is
    /// none.
    fn append(&self, name: &str, parts: &[&[u8]]) -> io::Result<()>;
    /// Drops what follows after so many bytes.
    fn cut(&self, name: &str, len: u64) -> io::Result<()>;
    /// Puts what `write` writes in the place of all there is, in one step.
    fn replace(
        &self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()>;
    /// Removes a file; it is no error if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes what was written outlive the machine; it is no error if there is no such file.
    fn sync(&self, name: &str) -> io::Result<()>;
}

/// Ending of a file that is to take another one's place.
const ASIDE: &str = ".new";
/// Files that stay open for appending; journal and segments that grow.
const OPEN: usize = 4;

/// A directory of its own.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Replaced files and names of new ones are synced.
    durable: bool,
    growing: Mutex<HashMap<String, Arc<File>>>,
}

impl Directory {
    /// `durable`: what is replaced or begun is to outlive the machine.
    pub(crate) fn new(path: &Path, durable: bool) -> Self {
        Self { path: path.to_owned(), durable, growing: Mutex::default() }
    }

    fn growing(&self) -> MutexGuard<'_, HashMap<String, Arc<File>>> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, name: &str) -> io::Result<Arc<File>> {
        if let Some(file) = self.growing().get(name) {
            return Ok(file.clone());
        }
        let path = self.path.join(name);
        let file = match OpenOptions::new().append(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.path)?;
                let file = OpenOptions::new().append(true).create(true).open(&path)?;
                self.sync_names()?;
                file
            }
            file => file?,
        };
        let file = Arc::new(file);
        let mut growing = self.growing();
        if growing.len() >= OPEN {
            growing.clear();
        }
        growing.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.durable { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.path.join(name))?;
        let mut len = 0;
        while len < into.len() {
            match file.read_at(&mut into[len..], at + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }

    fn append(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let file = self.open(name)?;
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match (&*file).write_vectored(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        self.open(name)?.set_len(len)
    }

    fn replace(
        &self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        let aside = self.path.join(format!("{name}{ASIDE}"));
        let written = (|| {
            // What a killed process left is written over.
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&aside)?;
            let mut writer = BufWriter::with_capacity(1 << 16, file);
            write(&mut writer)?;
            writer.flush()?;
            if self.durable {
                writer.get_ref().sync_all()?;
            }
            std::fs::rename(&aside, self.path.join(name))
        })();
        match written {
            Ok(()) => {
                self.growing().remove(name);
                self.sync_names()
            }
            Err(error) => {
                // Its room may be what is missing.
                drop(std::fs::remove_file(&aside));
                Err(error)
            }
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.growing().remove(name);
        unless_missing(std::fs::remove_file(self.path.join(name)))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        unless_missing(File::open(self.path.join(name)).and_then(|file| file.sync_data()))
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_appended_to_cut_replaced_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let files = Directory::new(&directory.path().join("rows"), true);
        assert_eq!(files.list().unwrap(), []);
        files.append("a", &[b"one", b"", b"two"]).unwrap();
        files.cut("a", 4).unwrap();
        files.append("a", &[b"x"]).unwrap();
        let mut bytes = [0; 9];
        assert_eq!(files.read("a", 1, &mut bytes).unwrap(), 4);
        assert_eq!(&bytes[..4], b"netx");
        files.replace("a", &mut |to| to.write_all(b"new")).unwrap();
        files.append("a", &[b"!"]).unwrap();
        files.sync("a").unwrap();
        assert_eq!(files.list().unwrap(), [("a".to_owned(), 4)]);
        let failed = files.replace("a", &mut |_| Err(ErrorKind::StorageFull.into()));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
        files.remove("a").unwrap();
        files.remove("a").unwrap();
        files.sync("a").unwrap();
        assert_eq!(files.list().unwrap(), []);
    }
}
