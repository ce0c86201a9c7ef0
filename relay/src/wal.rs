//! The write-ahead log: what was acknowledged and is not in a file of the store yet.
//!
//! A batch is acknowledged when it is on disk here. A relay that is killed reads again what no
//! manifest says is stored, and goes on with the same positions. One folder, one process at a time;
//! it also says who the relay is.
//!
//! | module | what it is for |
//! |---|---|
//! | `identity` | the folder: who the relay is, and that nobody else is it |
//! | `folder` | the files of the log |
//! | `frame`, `record` | form of a file |
//! | `log` | segments, crash and damage |
//! | `writer` | the thread that writes |
//! | `replay` | from the log to what is hot |

#[cfg(test)]
pub(crate) mod disk;
mod folder;
mod frame;
mod identity;
mod log;
mod record;
mod replay;
mod writer;

pub(crate) use folder::{Directory, Folder};
pub(crate) use identity::{Home, Identity};
pub(crate) use record::{Arrived, Notes, Record};
pub(crate) use replay::{Restored, replay};
pub(crate) use writer::{Bell, Writer};

/// A segment of that many bytes gets no further record.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;
