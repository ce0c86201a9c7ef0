//! Followers: in order, at once, told what they missed, resumed after a restart.

use tonic::Code;
use weir_flow::wire::HotTicket;

use super::client::id;
use super::*;

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

#[tokio::test]
async fn followers_get_what_is_hot_and_then_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    relay.client.send(&[(id(1), rows(0..2)), (id(2), rows(2..3))]).await.unwrap();
    let mut follower = relay.client.follow(ALL).await;
    let header = follower.header().await;
    assert_eq!((header.first, header.last), (1, 2));
    assert_eq!(follower.next().await.unwrap(), (1, vec![0, 1]));
    assert_eq!(follower.next().await.unwrap(), (2, vec![2]));
    let after = HotTicket { relay_epoch: header.relay_epoch, after: header.last };
    let mut second = relay.client.follow(after).await;
    second.header().await;
    for sequence in 3..10 {
        relay.client.send(&[(id(sequence), rows(sequence..sequence + 1))]).await.unwrap();
        assert_eq!(follower.next().await.unwrap(), (sequence, vec![sequence]));
        assert_eq!(second.next().await.unwrap(), (sequence, vec![sequence]));
    }
    // A batch without rows moves the position on.
    relay.client.send(&[(id(10), rows(0..0)), (id(11), rows(0..1))]).await.unwrap();
    assert_eq!(follower.next().await.unwrap(), (10, vec![]));
    assert_eq!(follower.next().await.unwrap(), (11, vec![0]));
    assert_eq!(relay.metrics.followers.get(), 2);
    drop(second);
    until("the follower is gone", async || relay.metrics.followers.get() == 1).await;
    let stop = tokio::spawn(relay.stop());
    assert_eq!(follower.next().await.unwrap_err().code(), Code::Unavailable);
    stop.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_follower_resumes_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    relay.client.send(&[(id(1), rows(0..1)), (id(2), rows(1..2))]).await.unwrap();
    let mut follower = relay.client.follow(ALL).await;
    let epoch = follower.header().await.relay_epoch;
    assert_eq!(follower.next().await.unwrap(), (1, vec![0]));
    drop(follower);
    relay.kill().await;
    let relay = Running::start(config(folder.path())).await;
    relay.client.send(&[(id(3), rows(2..3))]).await.unwrap();
    let mut follower = relay.client.follow(HotTicket { relay_epoch: epoch, after: 1 }).await;
    assert_eq!(follower.header().await.relay_epoch, epoch);
    assert_eq!(follower.next().await.unwrap(), (2, vec![1]));
    assert_eq!(follower.next().await.unwrap(), (3, vec![2]));
    // What an earlier process stored is missed, and told.
    relay.stop().await.unwrap();
    let relay = Running::start(config(folder.path())).await;
    relay.client.send(&[(id(4), rows(3..4))]).await.unwrap();
    let mut follower = relay.client.follow(HotTicket { relay_epoch: epoch, after: 1 }).await;
    follower.header().await;
    assert_eq!(follower.next().await.unwrap(), (4, vec![3]));
    assert_eq!(relay.metrics.follower_missed_batches.get(), 2);
    drop(follower);
    relay.stop().await.unwrap();
}

/// A follower that reads nothing costs the relay nothing, and learns what it missed.
#[tokio::test]
async fn a_slow_follower_is_told_what_it_missed() {
    const BATCHES: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let relay =
        Running::start(RelayConfig { flush_rows: 5_000, recent_bytes: 0, ..config(folder.path()) })
            .await;
    let mut slow = relay.client.follow(ALL).await;
    slow.header().await;
    for sequence in 1..=BATCHES {
        relay.client.send(&[(id(sequence), rows(0..1_000))]).await.unwrap();
    }
    // What a flush leaves may be too little for another.
    until("it is stored", async || relay.client.status().await.hot_rows < 5_000).await;
    relay.client.send(&[(id(BATCHES + 1), rows(0..1))]).await.unwrap();
    let mut positions = Vec::new();
    while positions.last() != Some(&(BATCHES + 1)) {
        let (position, counts) = slow.next().await.unwrap();
        assert_eq!(counts.len(), if position <= BATCHES { 1_000 } else { 1 });
        positions.push(position);
    }
    assert!(positions.is_sorted_by(|a, b| a < b));
    let missed = BATCHES + 1 - positions.len() as u64;
    assert!(missed > 0, "the connection took everything");
    assert_eq!(relay.metrics.follower_missed_batches.get(), missed);
    drop(slow);
    relay.stop().await.unwrap();
}

/// Who comes again after a flush gets what it lacks, in order, once.
#[tokio::test]
async fn what_is_stored_stays_a_while_for_who_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(RelayConfig { flush_rows: 1, ..config(folder.path()) }).await;
    let epoch = relay.client.hot(ALL).await.0.relay_epoch;
    for sequence in 1..=5 {
        relay.client.send(&[(id(sequence), rows(sequence..sequence + 1))]).await.unwrap();
    }
    until("all is stored", async || relay.client.status().await.stored_rows == 5).await;
    assert_eq!(relay.client.hot(ALL).await.1.len(), 0);
    let mut follower = relay.client.follow(HotTicket { relay_epoch: epoch, after: 2 }).await;
    follower.header().await;
    for position in 3..=5 {
        assert_eq!(follower.next().await.unwrap(), (position, vec![position]));
    }
    relay.client.send(&[(id(6), rows(6..7))]).await.unwrap();
    assert_eq!(follower.next().await.unwrap(), (6, vec![6]));
    assert_eq!(relay.metrics.follower_missed_batches.get(), 0);
    drop(follower);
    relay.stop().await.unwrap();
}
