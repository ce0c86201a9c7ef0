//! The bytes of one client: messages come one by one, what is told goes out in pieces.
//!
//! Capacity: one message of the client, and [`OUT_BYTES`] and a row that wait to be written; a client that
//! does not take them in time loses its connection.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::Message as Encode;
use pgwire::messages::data::DataRow;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::farewell;
use super::frame::{self, Message};
use super::portal::{Run, Step};
use super::startup::defect;
use crate::serve::Connection;

/// From a message's first byte to its last, and for a client to take what is written.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that are written at a time.
const OUT_BYTES: usize = 64 * 1024;

/// Both directions of a connection.
pub(super) struct Channel {
    reader: BufReader<ReadHalf<Connection>>,
    writer: WriteHalf<Connection>,
    out: BytesMut,
}

impl Channel {
    pub(super) fn new(
        reader: BufReader<ReadHalf<Connection>>,
        writer: WriteHalf<Connection>,
    ) -> Self {
        Self { reader, writer, out: BytesMut::new() }
    }

    /// Returns when a message begins, or the client is gone.
    pub(super) async fn arrives(&mut self) -> Result<(), Failure> {
        self.reader.fill_buf().await?;
        Ok(())
    }

    /// The next message, of at most so many bytes; none if the client is gone.
    pub(super) async fn next(&mut self, limit_bytes: usize) -> Result<Option<Message>, Failure> {
        let message = frame::next(&mut self.reader, limit_bytes);
        match tokio::time::timeout(TRANSFER_TIMEOUT, message).await {
            Ok(message) => message,
            Err(_) => Err(Failure::fatal("08006", "a message does not end")),
        }
    }

    /// Puts a message behind what waits to be written.
    pub(super) fn put(&mut self, message: &impl Encode) -> Result<(), Failure> {
        message.encode(&mut self.out).map_err(defect)
    }

    /// Puts a row of texts there.
    pub(super) fn put_texts(&mut self, texts: &[String]) -> Result<(), Failure> {
        let mut row = DataRow::default();
        for text in texts {
            let length = i32::try_from(text.len()).map_err(defect)?;
            row.data.extend_from_slice(&length.to_be_bytes());
            row.data.extend_from_slice(text.as_bytes());
            row.field_count += 1;
        }
        self.put(&row)
    }

    /// Puts rows there until enough wait to be written.
    pub(super) fn write(
        &mut self,
        run: &mut Run,
        left: &mut usize,
    ) -> Result<Option<Step>, Failure> {
        run.write(left, &mut self.out, OUT_BYTES)
    }

    pub(super) async fn flush_if_full(&mut self) -> Result<(), Failure> {
        if self.out.len() >= OUT_BYTES { self.flush().await } else { Ok(()) }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let written = async {
            self.writer.write_all(&self.out).await?;
            self.writer.flush().await
        };
        match tokio::time::timeout(TRANSFER_TIMEOUT, written).await {
            Ok(written) => written?,
            Err(_) => return Err(std::io::Error::from(ErrorKind::TimedOut).into()),
        }
        self.out.clear();
        Ok(())
    }

    /// Says why the connection ends.
    pub(super) async fn close(&mut self, failure: Failure) {
        farewell(&mut self.writer, failure).await;
    }

    /// Waits for something unless the client cancels it or goes away.
    pub(super) async fn watch<T>(
        &mut self,
        cancelled: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        let gone = async {
            let ahead = match self.reader.fill_buf().await {
                Ok(bytes) => bytes.first().is_some_and(|kind| *kind != b'X'),
                Err(_) => false,
            };
            if ahead {
                // Whether a client that has sent more is still there is seen when that is read.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = &mut work => Ok(done),
            () = cancelled.cancelled() => {
                Err(Failure::new("57014", "the query was cancelled as its client asked"))
            }
            () = gone => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        }
    }
}
