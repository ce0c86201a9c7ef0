//! Servers of object stores, one of each kind for the whole process of tests. They end with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use weir_store::Location;

use super::python;

/// Name of the bucket that each server has.
const BUCKET: &str = "weir";

/// Each prints its port when the bucket is there, and ends when its standard input does. What moto
/// checks and what it writes then are two steps: one request at a time is as atomic as S3's are.
const S3: &str = r#"
import sys, os, threading
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
import logging, boto3
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
def one_at_a_time(environ, start_response):
    with lock:
        return list(app(environ, start_response))
server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_port
boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket="weir")
print(port, flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// The account and key are those that every Azurite has.
const AZURE: &str = r#"
process.argv = ['node', 'azurite', '--inMemoryPersistence', '--blobPort', '0', '--disableTelemetry', '--silent'];
const crypto = require('crypto');
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = text => {
  const port = /listens on http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1];
  if (port) create(port);
  return true;
};
async function create(port) {
  const [account, key] = process.env.WEIR_ACCOUNT.split(' ');
  const date = new Date().toUTCString(), version = '2023-11-03';
  const text = 'PUT' + '\n'.repeat(12) + `x-ms-date:${date}\nx-ms-version:${version}\n`
    + `/${account}/${account}/weir\nrestype:container`;
  const signature = crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
  const headers = { 'x-ms-date': date, 'x-ms-version': version, Authorization: `SharedKey ${account}:${signature}` };
  const url = `http://127.0.0.1:${port}/${account}/weir?restype=container`;
  const answer = await fetch(url, { method: 'PUT', headers });
  print(answer.status === 201 ? `${port}\n` : `${await answer.text()}\n`);
}
process.stdin.on('end', () => process.exit()).resume();
require('azurite/dist/src/blob/main.js');
"#;
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Ours, since none that could be had has Google's XML API. It says its account after its port.
const GOOGLE: &str = include_str!("../../../tests/servers/gcs.py");

/// Port of a server of S3 (moto).
pub(crate) fn s3() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| port(&start(python::command(S3))))
}

/// Port of a server of Google Cloud Storage.
pub(crate) fn google() -> u16 {
    google_server().0
}

/// Its port and the service account that it takes tokens of.
fn google_server() -> &'static (u16, String) {
    static SERVER: OnceLock<(u16, String)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let line = start(python::command(GOOGLE));
        let (number, account) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        (port(number), account.to_owned())
    })
}

/// Port of a server of Azure's blobs (Azurite).
pub(crate) fn azure() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let packages = python::cache().join("node/node_modules");
        assert!(packages.join("azurite").exists(), "no azurite: run scripts/setup test");
        let mut command = Command::new("node");
        command.args(["-e", AZURE]).env("NODE_PATH", packages);
        port(&start(command.env("WEIR_ACCOUNT", format!("{AZURE_ACCOUNT} {AZURE_KEY}"))))
    })
}

/// The first line that a server says.
fn start(mut command: impl std::borrow::BorrowMut<Command>) -> String {
    let command = command.borrow_mut().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // Held open until this process ends.
    std::mem::forget(child);
    line.trim().to_owned()
}

fn port(text: &str) -> u16 {
    text.parse().unwrap_or_else(|_| panic!("the server says {text:?}"))
}

/// A prefix of the bucket at a port.
pub(crate) fn s3_location(port: u16, prefix: &str) -> Location {
    let endpoint = format!("endpoint=http://127.0.0.1:{port}");
    let options =
        ["allow_http=true", "access_key_id=test", "secret_access_key=test", "region=us-east-1"];
    let options = options.iter().map(|option| (*option).to_owned()).chain([endpoint]);
    Location::new(format!("s3://{BUCKET}/{prefix}")).with_options(options)
}

/// A prefix of Google's bucket at a port.
pub(crate) fn google_location(port: u16, prefix: &str) -> Location {
    Location::new(format!("gs://{BUCKET}/{prefix}")).with_options([
        format!("service_account_key={}", google_server().1),
        format!("base_url=http://127.0.0.1:{port}"),
    ])
}

/// A prefix of the container at a port.
pub(crate) fn azure_location(port: u16, prefix: &str) -> Location {
    Location::new(format!("az://{BUCKET}/{prefix}")).with_options([
        format!("endpoint=http://127.0.0.1:{port}/{AZURE_ACCOUNT}"),
        format!("account_name={AZURE_ACCOUNT}"),
        format!("access_key={AZURE_KEY}"),
        "allow_http=true".to_owned(),
    ])
}
