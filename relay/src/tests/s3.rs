//! The store in a bucket of a real S3 server.

use weir_flow::manifest::{DataFile, Manifest};
use weir_store::Location;

use super::client::id;
use super::proxy::{Mode, Proxy};
use super::python::S3;
use super::*;
use crate::store::Store;

fn location(port: u16, prefix: &str) -> Location {
    let endpoint = format!("endpoint=http://127.0.0.1:{port}");
    let options =
        ["allow_http=true", "access_key_id=test", "secret_access_key=test", "region=us-east-1"];
    let options = options.iter().map(|option| (*option).to_owned()).chain([endpoint]);
    Location::new(format!("s3://weir/{prefix}")).with_options(options)
}

fn on_s3(port: u16, prefix: &str, wal: &Path) -> RelayConfig {
    let wal = Some(wal.to_owned());
    RelayConfig {
        store: location(port, prefix),
        wal,
        flush_rows: 40,
        ..config(Path::new("unused"))
    }
}

/// A manifest is created only if it is absent, so of two writers one has to look again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_lose_no_manifest() {
    const EACH: usize = 15;
    let server = S3::start();
    let writer = async |name: &'static str| {
        let store = Store::new(weir_store::open(&location(server.port, "two")).unwrap());
        let mut known = Manifest::default();
        for number in 0..EACH {
            let add = |base: &Manifest| {
                let mut next = base.clone();
                let path = format!("flows/{name}-{number}.parquet");
                next.files.push(DataFile { path, ..DataFile::default() });
                Some(next)
            };
            known = store.change(&known, |_| false, add).await.unwrap().unwrap();
        }
    };
    tokio::join!(writer("a"), writer("b"));
    let store = Store::new(weir_store::open(&location(server.port, "two")).unwrap());
    let newest = store.newest().await.unwrap();
    assert_eq!((newest.version, newest.files.len()), (2 * EACH as u64, 2 * EACH));
    let other = Store::new(weir_store::open(&location(server.port, "other")).unwrap());
    assert_eq!(other.newest().await.unwrap(), Manifest::default());
}

/// A store that refuses connections, then one that does not answer at all: the status says so,
/// collectors are delayed, and every row is stored once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_and_stalls_delays_and_loses_nothing() {
    let server = S3::start();
    let proxy = Proxy::start(server.port).await;
    let wal = tempfile::tempdir().unwrap();
    let relay = Running::start(on_s3(proxy.port, "relay", wal.path())).await;
    let client = relay.client.clone();
    let send = async |batch: u64| {
        client.send(&[(id(batch), rows((batch - 1) * 20..batch * 20))]).await.unwrap();
    };
    let problem = async |words: &str| {
        until(words, async || {
            let problems = client.status().await.problems;
            problems.iter().any(|problem| problem.contains(words))
        })
        .await;
    };
    for batch in 1..=4 {
        send(batch).await;
    }
    until("it is stored", async || client.status().await.stored_rows == 80).await;
    proxy.set(Mode::Refuse);
    for batch in 5..=8 {
        send(batch).await;
    }
    problem("rows stay in memory").await;
    proxy.set(Mode::Pass);
    until("it is stored", async || client.status().await.stored_rows >= 120).await;
    proxy.set(Mode::Stall);
    for batch in 9..=12 {
        send(batch).await;
    }
    problem("has not answered").await;
    proxy.set(Mode::Pass);
    until("it is stored", async || client.status().await.hot_rows == 0).await;
    until("it works", async || client.status().await.problems.is_empty()).await;
    drop(client);
    relay.stop().await.unwrap();
    let objects = weir_store::open(&location(server.port, "relay")).unwrap();
    let report = crate::check(objects, |_| {}).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.rows, report.count), (240, (0..240).sum::<u64>()));
}

/// Two relays write the same bucket at once, and one of them is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_share_a_bucket() {
    let server = S3::start();
    let wals = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let one = Running::start(on_s3(server.port, "shared", wals[0].path())).await;
    let two = Running::start(on_s3(server.port, "shared", wals[1].path())).await;
    let from = |relay: &Running, collector: &'static str, first: u64| {
        let client = relay.client.clone();
        async move {
            for batch in 1..=8 {
                let start = first + (batch - 1) * 20;
                let id = weir_flow::wire::BatchId { collector: collector.into(), ..id(batch) };
                client.send(&[(id, rows(start..start + 20))]).await.unwrap();
            }
        }
    };
    tokio::join!(from(&one, "a", 0), from(&two, "b", 1000));
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    let objects = weir_store::open(&location(server.port, "shared")).unwrap();
    let expected: u64 = (0..160).chain(1000..1160).sum();
    let report = crate::check(objects.clone(), |_| {}).await.unwrap();
    assert_eq!((report.problems, report.rows, report.count), (vec![], 320, expected));
    crate::compact(objects.clone(), |_| {}).await.unwrap();
    let report = crate::check(objects, |_| {}).await.unwrap();
    assert_eq!((report.problems, report.rows, report.count), (vec![], 320, expected));
    assert!(report.files <= 4, "{} files", report.files);
}
