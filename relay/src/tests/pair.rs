//! Two relays beside each other on one store, each with a log of its own.

use weir_flow::manifest::MANIFESTS_KEPT;
use weir_flow::wire::{BatchId, HotTicket};

use super::client::{counts, id};
use super::place::{Place, over_every_store};
use super::*;

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

over_every_store! {
    both_write_and_each_row_is_there_once,
    an_idle_relay_does_not_write_a_manifest_of_the_past,
    a_collector_may_change_its_relay,
}

fn of(place: &Place, relay: &str, flush_rows: usize) -> RelayConfig {
    RelayConfig { wal: Some(place.folder().join(relay)), flush_rows, ..place.config() }
}

fn from(relay: &str, sequence: u64) -> BatchId {
    BatchId { collector: format!("lab/{relay}"), ..id(sequence) }
}

/// What a query sees that asks both: the newest manifest, and of each relay what is not in it.
async fn visible(relays: &[&Running], place: &Place) -> Vec<u64> {
    let mut hot = Vec::new();
    for relay in relays {
        hot.push(relay.client.hot(ALL).await);
    }
    let mut store = place.reader();
    let manifest = store.newest().await;
    let mut seen = store.counts(&manifest).await;
    for (header, batches) in hot {
        let flushed = manifest.flushed.iter().find(|of| of.relay_epoch == header.relay_epoch);
        let flushed = flushed.map_or(0, |of| of.position);
        let newer = batches.iter().filter(|(at, _)| at.position > flushed);
        seen.extend(newer.flat_map(|(_, batch)| counts(batch)));
    }
    seen.sort_unstable();
    seen
}

async fn both_write_and_each_row_is_there_once(place: Place) {
    const BATCHES: u64 = 40;
    let a = Running::start(of(&place, "a", 3)).await;
    let b = Running::start(of(&place, "b", 5)).await;
    let send = |client: Client, name: &'static str, first: u64| async move {
        for sequence in 1..=BATCHES {
            let number = first + sequence - 1;
            client.send(&[(from(name, sequence), rows(number..number + 1))]).await.unwrap();
        }
    };
    tokio::join!(send(a.client.clone(), "a", 0), send(b.client.clone(), "b", BATCHES));
    assert_eq!(visible(&[&a, &b], &place).await, (0..2 * BATCHES).collect::<Vec<_>>());
    // One is killed; the other goes on, and a start of the one leaves the files of the other.
    a.kill().await;
    b.client.send(&[(from("b", BATCHES + 1), rows(2 * BATCHES..2 * BATCHES + 1))]).await.unwrap();
    let a = Running::start(of(&place, "a", 1_000)).await;
    assert_eq!(visible(&[&a, &b], &place).await, (0..=2 * BATCHES).collect::<Vec<_>>());
    a.stop().await.unwrap();
    b.stop().await.unwrap();
    assert_eq!(visible(&[], &place).await, (0..=2 * BATCHES).collect::<Vec<_>>());
    let manifest = place.reader().newest().await;
    assert_eq!((manifest.flushed.len(), manifest.stored.len()), (2, 2));
}

/// The other one wrote so many manifests meanwhile that the one known is long deleted.
async fn an_idle_relay_does_not_write_a_manifest_of_the_past(place: Place) {
    let idle = Running::start(of(&place, "idle", 1)).await;
    let busy = Running::start(of(&place, "busy", 1)).await;
    idle.client.send(&[(from("idle", 1), rows(0..1))]).await.unwrap();
    until("it is stored", async || idle.client.status().await.hot_rows == 0).await;
    let batches = 2 * MANIFESTS_KEPT + 3;
    for sequence in 1..=batches {
        busy.client.send(&[(from("busy", sequence), rows(sequence..sequence + 1))]).await.unwrap();
        until("it is stored", async || busy.client.status().await.hot_rows == 0).await;
    }
    idle.client.send(&[(from("idle", 2), rows(batches + 1..batches + 2))]).await.unwrap();
    until("it is stored", async || idle.client.status().await.hot_rows == 0).await;
    assert_eq!(visible(&[], &place).await, (0..batches + 2).collect::<Vec<_>>());
    idle.stop().await.unwrap();
    busy.stop().await.unwrap();
    assert_eq!(visible(&[], &place).await, (0..batches + 2).collect::<Vec<_>>());
}

/// A collector that goes over to the other relay, once the first one's flush is known there.
async fn a_collector_may_change_its_relay(place: Place) {
    let a = Running::start(of(&place, "a", 1_000)).await;
    let b = Running::start(of(&place, "b", 1)).await;
    a.client.send(&[(id(1), rows(0..1)), (id(2), rows(1..2))]).await.unwrap();
    a.stop().await.unwrap();
    b.client.send(&[(id(2), rows(1..2)), (id(3), rows(2..3))]).await.unwrap();
    until("it is stored", async || b.client.status().await.hot_rows == 0).await;
    let a = Running::start(of(&place, "a", 1_000)).await;
    b.client.send(&[(id(4), rows(3..4))]).await.unwrap();
    until("it is stored", async || b.client.status().await.hot_rows == 0).await;
    // And back.
    a.client.send(&[(id(4), rows(3..4)), (id(5), rows(4..5))]).await.unwrap();
    assert_eq!(visible(&[&a, &b], &place).await, [0, 1, 2, 3, 4]);
    for relay in [a, b] {
        assert!(relay.client.status().await.problems.is_empty());
        relay.stop().await.unwrap();
    }
    assert!(place.reader().newest().await.loss.is_empty());
}
