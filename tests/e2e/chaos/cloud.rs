//! The store is a server of S3 or of Google Cloud Storage that is slow, fails, and loses its answers;
//! relays are killed over it.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::bed::{Bed, NODE, alone};
use crate::cluster::Options;
use crate::random::Random;

/// Whose store. Each server has an empty bucket `weir`, and ends when its standard input does, which
/// is when the test does, however that ends.
#[derive(Clone, Copy)]
enum Cloud {
    S3,
    Google,
}

/// Says its port.
const S3: &str = r#"
import logging, os, sys
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
import boto3
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket="weir")
print(port, flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// Says its port and a service account.
const GOOGLE: &str = include_str!("../../servers/gcs.py");

struct Server {
    cloud: Cloud,
    child: Child,
    address: SocketAddr,
    account: String,
}

impl Server {
    fn start(cloud: Cloud) -> Self {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weir");
        let cache = std::env::var_os("WEIR_CACHE").map_or_else(home, PathBuf::from);
        let python = cache.join("python/bin/python");
        assert!(python.exists(), "there is no {}: run scripts/setup test", python.display());
        let program = match cloud {
            Cloud::S3 => S3,
            Cloud::Google => GOOGLE,
        };
        let mut child = Command::new(python)
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (port, account) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let port: u16 = port.parse().expect("the server says its port");
        Self { cloud, child, address: ([127, 0, 0, 1], port).into(), account: account.to_owned() }
    }

    /// What relay and query service are told of the store, which they reach through a proxy.
    fn options(&self, directory: &Path, proxy: &Proxy) -> Options {
        let (url, client) = match self.cloud {
            Cloud::S3 => (
                "s3://weir/store",
                vec![
                    format!("endpoint=http://{}", proxy.address),
                    "allow_http=true".to_owned(),
                    "region=us-east-1".to_owned(),
                    "access_key_id=test".to_owned(),
                    "secret_access_key=test".to_owned(),
                ],
            ),
            Cloud::Google => {
                let file = directory.join("account.json");
                std::fs::write(&file, &self.account).unwrap();
                let account = format!("service_account={}", file.display());
                ("gs://weir/store", vec![account, format!("base_url=http://{}", proxy.address)])
            }
        };
        let option = |text: String| ["--store-option".to_owned(), text];
        let client: Vec<String> = client.into_iter().flat_map(option).collect();
        let wal = directory.join("wal").to_str().unwrap().to_owned();
        let relay = ["--wal", &wal, "--flush-interval", "1s"].map(str::to_owned);
        Options {
            relay: [relay.to_vec(), client.clone()].concat(),
            query: client,
            store: Some(url.into()),
            ..Options::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What happens to connections on their way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Trouble {
    /// Nothing.
    None,
    /// Each answer takes a while longer.
    Slow,
    /// Nobody is there.
    Gone,
    /// Of four requests one is carried out and its answer lost.
    Cut,
}

/// Between the processes and the server.
struct Proxy {
    address: SocketAddr,
    trouble: Arc<AtomicU8>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let trouble = Arc::new(AtomicU8::new(Trouble::None as u8));
        let (answers, at) = (Arc::new(AtomicU64::new(0)), trouble.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if at.load(Ordering::Relaxed) == Trouble::Gone as u8 {
                    continue;
                }
                let (at, answers) = (at.clone(), answers.clone());
                std::thread::spawn(move || carry(client, server, &at, &answers));
            }
        });
        Self { address, trouble }
    }

    fn set(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::Relaxed);
    }
}

/// Carries a connection's bytes both ways until either end closes.
fn carry(mut client: TcpStream, server: SocketAddr, trouble: &AtomicU8, answers: &AtomicU64) {
    let Ok(mut upstream) = TcpStream::connect(server) else { return };
    let (Ok(mut requests), Ok(mut to_server)) = (client.try_clone(), upstream.try_clone()) else {
        return;
    };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut requests, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len @ 1..) = upstream.read(&mut buffer) {
        let now = trouble.load(Ordering::Relaxed);
        let number = answers.fetch_add(1, Ordering::Relaxed);
        if now == Trouble::Gone as u8 || (now == Trouble::Cut as u8 && number.is_multiple_of(4)) {
            break;
        }
        if now == Trouble::Slow as u8 {
            std::thread::sleep(Duration::from_millis(300));
        }
        if client.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
}

#[test]
fn an_s3_store_that_is_slow_fails_and_loses_its_answers_delays_and_loses_nothing() {
    a_troubled_store_delays_and_loses_nothing(Cloud::S3);
}

#[test]
fn a_google_store_that_is_slow_fails_and_loses_its_answers_delays_and_loses_nothing() {
    a_troubled_store_delays_and_loses_nothing(Cloud::Google);
}

#[test]
fn kills_over_an_s3_store_that_loses_its_answers_lose_and_repeat_nothing() {
    kills_lose_and_repeat_nothing(Cloud::S3);
}

#[test]
fn kills_over_a_google_store_that_loses_its_answers_lose_and_repeat_nothing() {
    kills_lose_and_repeat_nothing(Cloud::Google);
}

fn a_troubled_store_delays_and_loses_nothing(cloud: Cloud) {
    alone(move |directory| {
        let server = Server::start(cloud);
        let proxy = Proxy::start(server.address);
        let mut bed = Bed::start(directory, server.options(directory, &proxy));
        bed.load(500, 250);
        for trouble in [Trouble::Slow, Trouble::Gone, Trouble::Cut] {
            proxy.set(trouble);
            std::thread::sleep(Duration::from_secs(5));
        }
        proxy.set(Trouble::None);
        bed.settle_without_loss();
        assert!(bed.stored_files() > 0, "rows are in the store");
    });
}

fn kills_lose_and_repeat_nothing(cloud: Cloud) {
    const KILLS: usize = 12;
    alone(move |directory| {
        let server = Server::start(cloud);
        let proxy = Proxy::start(server.address);
        let mut bed = Bed::start(directory, server.options(directory, &proxy));
        bed.load(500, 250);
        let mut random = Random::new();
        for kill in 0..KILLS {
            proxy.set(if kill % 2 == 0 { Trouble::None } else { Trouble::Cut });
            random.wait(500..3_000);
            bed.cluster.kill_relay();
            if random.within(0..3) == 0 {
                bed.cluster.kill_collectors();
                bed.cluster.start_collector(NODE);
            }
            bed.cluster.start_relay();
        }
        proxy.set(Trouble::None);
        bed.settle_without_loss();
        assert!(bed.stored_files() > 0, "rows are in the store");
    });
}
