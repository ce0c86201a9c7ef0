//! Calls of gRPC made of any bytes. What stands in a frame, and how long it says to be, is the caller's.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bed::Told;

/// A stream that says nothing for so long only follows; it is left.
const SILENCE: Duration = Duration::from_millis(200);
/// For the first bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How what is told of bytes that are no message begins; its code is `INTERNAL` in every implementation.
const FRAMES: [&str; 5] = [
    "failed to decode Protobuf",
    "protocol error",
    "Unexpected EOF",
    "Missing request message",
    "ParseError(\"Unable to decode Any value",
];
/// Bytes of an answer that are read before it is left.
const ENOUGH: usize = 1 << 20;

/// A connection, which is made when it is needed and made anew when it was closed.
pub(super) struct Channel {
    address: String,
    requests: Option<SendRequest<Bytes>>,
}

/// How a call ended.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// None if it was left before.
    pub(super) status: Option<u32>,
    pub(super) message: String,
    /// What came, frame behind frame.
    pub(super) body: Vec<u8>,
}

impl Channel {
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), requests: None }
    }

    /// Calls a method with what is sent as frames.
    pub(super) async fn call(&mut self, path: &str, body: Vec<u8>) -> Result<Answer, h2::Error> {
        let sent = self.exchange(path, body).await;
        if sent.as_ref().is_err_and(|error| !error.is_reset()) {
            self.requests = None;
        }
        sent
    }

    async fn exchange(&mut self, path: &str, body: Vec<u8>) -> Result<Answer, h2::Error> {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let requests = match self.requests.take() {
            Some(requests) => requests,
            None => connect(&self.address).await?,
        };
        let mut requests = requests.ready().await?;
        let (response, mut stream) = requests.send_request(request, false)?;
        self.requests = Some(requests);
        // Refused when the answer came before all was sent.
        let _ = stream.send_data(body.into(), true);
        let response = timeout(PATIENCE, response).await.expect("an answer begins")?;
        let mut answer = Answer::default();
        answer.read(response.headers());
        let mut body = response.into_body();
        loop {
            if answer.body.len() > ENOUGH {
                return Ok(answer);
            }
            let Ok(data) = timeout(SILENCE, body.data()).await else { return Ok(answer) };
            let Some(data) = data else { break };
            let data = data?;
            let _ = body.flow_control().release_capacity(data.len());
            answer.body.extend(data);
        }
        if let Some(trailers) = body.trailers().await? {
            answer.read(&trailers);
        }
        Ok(answer)
    }
}

impl Answer {
    fn read(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.status = self.status.or_else(|| text("grpc-status")?.parse().ok());
        if let Some(message) = text("grpc-message") {
            self.message = decoded(message);
        }
    }

    /// What it tells.
    pub(super) fn told(self) -> Told {
        match self.status {
            None | Some(0) => Told::Answered,
            // Unknown, internal: a defect here, but for bytes that are no message.
            Some(code @ (2 | 13))
                if !FRAMES.iter().any(|begin| self.message.starts_with(begin)) =>
            {
                Told::Refused(format!("internal error: code {code}: {}", self.message))
            }
            Some(_) => Told::Refused(self.message),
        }
    }
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>, h2::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (requests, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(async move {
        // What ends it, the next request learns.
        let _ = connection.await;
    });
    Ok(requests)
}

/// A message of a status, which is percent-encoded.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The message in a frame of its own.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}
