//! A store that is a server, and refuses or stalls.

use super::client::id;
use super::place::{Place, over_every_server};
use super::proxy::{Mode, Proxy};
use super::*;

over_every_server! {
    a_store_that_fails_and_stalls_delays_and_loses_nothing,
    a_relay_waits_for_its_store_at_the_start,
}

/// A store that refuses connections, then one that does not answer at all: the status says so,
/// collectors are delayed, and every row is stored once.
async fn a_store_that_fails_and_stalls_delays_and_loses_nothing(place: Place) {
    let proxy = Proxy::start(place.port()).await;
    let store = place.through(proxy.port);
    let config = RelayConfig { store, flush_rows: 40, ..place.config() };
    let relay = Running::start(config).await;
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
    let report = crate::check(place.objects(), |_| {}).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.rows, report.count), (240, (0..240).sum::<u64>()));
}

/// A relay that starts while its store is away waits for it, and has then what the log had.
async fn a_relay_waits_for_its_store_at_the_start(place: Place) {
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..5))]).await.unwrap();
    relay.kill().await;
    let proxy = Proxy::start(place.port()).await;
    proxy.set(Mode::Refuse);
    let store = place.through(proxy.port);
    let starting = Relay::prepare(RelayConfig { store, ..place.config() }).unwrap();
    let (metrics, is_ready) = (starting.metrics.clone(), starting.readiness());
    let bound = tokio::spawn(starting.bind());
    until("it tried in vain", async || metrics.start_failures.get() > 0).await;
    assert!(!is_ready() && !bound.is_finished());
    proxy.set(Mode::Pass);
    let relay = tokio::time::timeout(DEADLINE, bound).await.unwrap().unwrap().unwrap();
    assert!(!is_ready());
    let (address, stop) = (relay.ingest_address(), CancellationToken::new());
    let task = tokio::spawn(relay.run(stop.clone()));
    let client = Client::tcp(address).await;
    assert_eq!(client.status().await.hot_rows, 5);
    assert!(is_ready());
    client.send(&[(id(1), rows(0..5)), (id(2), rows(5..8))]).await.unwrap();
    drop(client);
    stop.cancel();
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
    assert!(!is_ready());
    assert_eq!(place.reader().all().await, (0..8).collect::<Vec<_>>());
}
