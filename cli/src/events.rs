//! Server-sent events, as the query service's tail sends them.

use anyhow::Context as _;
use reqwest::Response;

/// Longest line of the stream.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The events of an answer, one after another.
pub(crate) struct Events {
    response: Response,
    buffer: Vec<u8>,
    /// How much of the buffer is known to have no end of a line.
    searched: usize,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its kind; empty if it is of the usual one.
    pub(crate) kind: String,
    pub(crate) data: String,
    /// Where a stream that breaks off goes on; empty if it does not say.
    pub(crate) id: String,
}

impl Events {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new(), searched: 0 }
    }

    /// The next one, which may have an `id` and no data; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        let mut event = Event::default();
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            match line.split_once(':') {
                Some(("event", kind)) => kind.trim().clone_into(&mut event.kind),
                Some(("data", data)) => event.data.push_str(data.trim_start()),
                Some(("id", id)) => id.trim().clone_into(&mut event.id),
                // Comments keep the connection alive.
                Some(_) => {}
                None if event.data.is_empty() && event.id.is_empty() => event.kind.clear(),
                None => return Ok(Some(event)),
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            let unseen = &self.buffer[self.searched..];
            if let Some(end) = unseen.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            self.searched = self.buffer.len();
            anyhow::ensure!(self.searched <= MAX_LINE_BYTES, "a line of the stream is too long");
            let chunk = self.response.chunk().await.context("the stream broke off")?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
