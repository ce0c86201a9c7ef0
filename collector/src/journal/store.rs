//! Where the journal's bytes are: one file, and another one while that is being replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The seam for tests without a file system. Writes are not forced to disk: they have to outlive
/// the process, and the kernel's maps do not outlive the machine.
pub(crate) trait Store: Send {
    /// All bytes; `None` if there is nothing yet.
    fn read(&mut self) -> io::Result<Option<Box<dyn Read + '_>>>;
    /// Drops what follows after so many bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Adds bytes at the end; a part of them may be there after an error.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Puts what `write` writes in the place of all there is, in one step.
    fn replace(
        &mut self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()>;
}

const FILE: &str = "journal";
const ASIDE: &str = "journal.new";

/// In a directory of its own.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    file: Option<File>,
}

impl Directory {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).open(self.path.join(FILE))?,
        };
        Ok(self.file.insert(file))
    }
}

impl Store for Directory {
    fn read(&mut self) -> io::Result<Option<Box<dyn Read + '_>>> {
        match File::open(self.path.join(FILE)) {
            Ok(file) => Ok(Some(Box::new(BufReader::with_capacity(1 << 20, file)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.open()?.set_len(len)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open()?.write_all(bytes)
    }

    fn replace(
        &mut self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        let aside = self.path.join(ASIDE);
        let written = (|| {
            // What a killed process left is written over.
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&aside)?;
            let mut writer = BufWriter::with_capacity(1 << 20, file);
            write(&mut writer)?;
            writer.flush()?;
            std::fs::rename(&aside, self.path.join(FILE))
        })();
        match written {
            Ok(()) => self.file = None,
            // Its room may be what is missing.
            Err(_) => drop(std::fs::remove_file(&aside)),
        }
        written
    }
}
