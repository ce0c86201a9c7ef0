//! The small servers and clients, across a lab.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{create, ip, two_nodes};
use weir_lab::traffic::{background, bulk, client, dns, http, redis};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn redis_answers_pings() {
    let lab = create(&two_nodes());
    for address in ["10.244.2.11:6379", "[fd00:2::11]:6379"] {
        let address: SocketAddr = address.parse().unwrap();
        let server = redis::redis_like(lab.pod("y/a").unwrap(), address).unwrap();
        let pod = lab.pod("x/a").unwrap();
        assert!(pod.enter(|| redis::ping(address, PATIENCE)).unwrap().unwrap());
        let array = b"*1\r\n$4\r\nPING\r\n";
        let crlf = |answer: &[u8]| answer.ends_with(b"\r\n");
        let answer = pod.enter(|| client::connect_and_send(address, array, crlf, PATIENCE));
        assert_eq!(answer.unwrap().unwrap(), b"+PONG\r\n");
        let answer = pod.enter(|| client::connect_and_send(address, b"GET x\r\n", crlf, PATIENCE));
        assert_eq!(answer.unwrap().unwrap(), b"-ERR unknown command\r\n");
        assert_eq!(server.served(), 3);
        drop(server);
        let refused = pod.enter(|| redis::ping(address, PATIENCE)).unwrap().unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn tiers_call_each_other() {
    let lab = create(&two_nodes());
    let api: SocketAddr = "10.244.2.11:8080".parse().unwrap();
    let web: SocketAddr = "10.244.1.12:80".parse().unwrap();
    let called = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&called);
    let _api = http::http_like(lab.pod("y/a").unwrap(), api, 100_000, move || {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    // A server's threads are not inside its place: what it calls in turn, it calls from there.
    let pod = lab.pod("x/b").unwrap().clone();
    let _web = http::http_like(lab.pod("x/b").unwrap(), web, 10, move || {
        let upstream = pod.enter(|| http::get(api, "/orders", PATIENCE));
        assert_eq!(upstream.unwrap().unwrap(), 200);
    })
    .unwrap();
    let browser = lab.host("internet").unwrap();
    let turns = background::repeat(browser, Duration::from_millis(5), move || {
        assert_eq!(http::get(web, "/", PATIENCE).unwrap(), 200);
    })
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while called.load(Ordering::Relaxed) < 3 {
        assert!(Instant::now() < deadline, "nobody called");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(turns);
    let seen = called.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(called.load(Ordering::Relaxed), seen, "ended with its handle");
}

#[test]
fn names_and_bulk() {
    let lab = create(&two_nodes());
    let server: SocketAddr = "10.244.2.11:53".parse().unwrap();
    let names = HashMap::from([("db.shop.svc".to_owned(), ip("10.244.1.12"))]);
    let _dns = dns::dns_like(lab.pod("y/a").unwrap(), server, names).unwrap();
    let sink: SocketAddr = "[fd00:1::12]:9000".parse().unwrap();
    let _sink = bulk::sink(lab.pod("x/b").unwrap(), sink).unwrap();
    lab.pod("x/a")
        .unwrap()
        .enter(|| {
            let found = dns::query(server, "db.shop.svc", PATIENCE).unwrap();
            assert_eq!(found, Some(ip("10.244.1.12")));
            assert_eq!(dns::query(server, "none.svc", PATIENCE).unwrap(), None);
            assert_eq!(bulk::send(sink, 1_000_003, PATIENCE).unwrap(), 1_000_003);
        })
        .unwrap();
}

#[test]
fn a_server_is_bounded_and_ends_with_open_connections() {
    let lab = create(&two_nodes());
    let address: SocketAddr = "10.244.2.11:6379".parse().unwrap();
    let server = redis::redis_like(lab.pod("y/a").unwrap(), address).unwrap();
    let mut open: Vec<TcpStream> = lab
        .pod("x/a")
        .unwrap()
        .enter(|| (0..140).map(|_| TcpStream::connect(address).unwrap()).collect())
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while server.served() + server.turned_away() < 140 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((server.served(), server.turned_away()), (128, 12));
    open[0].write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    open[0].read_exact(&mut pong).unwrap();
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < PATIENCE, "it does not wait for its clients");
    open[0].set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(open[0].read(&mut pong).unwrap(), 0);
}
