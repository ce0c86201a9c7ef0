//! Versions of the cluster's objects: kept once, stored, merged, and known again after a restart.

use tonic::Code;
use weir_flow::schema::TimestampNs;
use weir_flow::schema::objects::ObjectVersion;
use weir_flow::wire::ObjectsId;

use super::client::{encode_objects, id};
use super::place::{Place, over_every_store};
use super::*;

over_every_store! {
    versions_are_kept_once_and_a_restarted_relay_knows_them,
    age_alone_stores_objects_and_small_files_become_one,
    a_failing_store_and_a_lost_answer_store_each_version_once,
    a_damaged_file_of_objects_does_not_stop_the_relay,
    what_can_be_no_object_is_refused,
}

fn version(name: &str, time: i64, manifest: Option<&str>) -> ObjectVersion {
    ObjectVersion {
        time: TimestampNs(time),
        cluster: "lab".into(),
        node: "n1".into(),
        kind: "NetworkPolicy".into(),
        namespace: "x".into(),
        name: name.into(),
        manifest: manifest.map(str::to_owned),
    }
}

fn of(sequence: u64, complete_at_ns: Option<i64>) -> ObjectsId {
    ObjectsId { cluster: "lab".into(), node: "n1".into(), epoch: 1, sequence, complete_at_ns }
}

async fn send(relay: &Running, batches: &[(ObjectsId, Vec<ObjectVersion>)]) {
    let sequences: Vec<u64> = batches.iter().map(|(id, _)| id.sequence).collect();
    assert_eq!(relay.client.send_raw(encode_objects(batches)).await.unwrap(), sequences);
}

/// Hot and stored versions together, by name and time.
async fn visible(relay: &Running, place: &Place) -> Vec<ObjectVersion> {
    let (header, mut all) = relay.client.objects().await;
    let reader = place.reader();
    for file in reader.manifest(header.manifest_version).await.objects {
        let batches = reader.batches(&file.path).await;
        all.extend(batches.iter().flat_map(|batch| ObjectVersion::read(batch).unwrap()));
    }
    all.sort_by_key(|version| (version.name.clone(), version.time));
    all
}

async fn versions_are_kept_once_and_a_restarted_relay_knows_them(place: Place) {
    let relay = Running::start(place.config()).await;
    let first = [version("a", 1, Some("one")), version("b", 1, Some("one"))];
    send(
        &relay,
        &[(of(1, Some(2)), first.to_vec()), (of(2, None), vec![version("a", 5, Some("two"))])],
    )
    .await;
    // Connected anew: everything again, without b.
    let now = [version("a", 5, Some("two"))];
    send(&relay, &[(of(1, Some(9)), now.to_vec())]).await;
    let expected =
        [first[0].clone(), version("a", 5, Some("two")), first[1].clone(), version("b", 9, None)];
    assert_eq!(visible(&relay, &place).await, expected);
    relay.stop().await.unwrap();
    let relay = Running::start(place.config()).await;
    assert_eq!(relay.client.objects().await.1, []);
    // A collector that began anew does not know since when a is like this.
    send(&relay, &[(of(1, Some(21)), vec![version("a", 20, Some("two"))])]).await;
    assert_eq!(visible(&relay, &place).await, expected);
    // Flows and objects may come together.
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    send(&relay, &[(of(1, None), vec![version("c", 30, Some("one"))])]).await;
    relay.stop().await.unwrap();
    let manifest = place.reader().newest().await;
    assert_eq!((manifest.files.len(), manifest.objects.len()), (2, 2));
}

async fn age_alone_stores_objects_and_small_files_become_one(place: Place) {
    let interval = Duration::from_millis(10);
    let config = RelayConfig { flush_interval: interval, ..place.config() };
    let relay = Running::start(config).await;
    let mut expected = Vec::new();
    for time in 0..40 {
        let manifest = time.to_string();
        let new = version("a", time, Some(&manifest));
        send(&relay, &[(of(1, None), vec![new.clone()])]).await;
        expected.push(new);
        until("it is stored", async || relay.client.objects().await.1.is_empty()).await;
        assert_eq!(visible(&relay, &place).await, expected);
    }
    relay.stop().await.unwrap();
    let manifest = place.reader().newest().await;
    assert!(manifest.objects.len() <= 8, "{:?}", manifest.objects);
    // Replaced files go once no manifest that is kept names them.
    let files = place.reader().paths("objects").await.len();
    assert!(files < 32, "{files}");
    let relay = Running::start(place.config()).await;
    assert_eq!(visible(&relay, &place).await, expected);
    relay.stop().await.unwrap();
}

async fn a_failing_store_and_a_lost_answer_store_each_version_once(place: Place) {
    let interval = Duration::from_millis(10);
    let relay = Running::start(RelayConfig { flush_interval: interval, ..place.config() }).await;
    relay.fail_store(true);
    send(&relay, &[(of(1, None), vec![version("a", 1, Some("one"))])]).await;
    until("a flush failed", async || relay.faults.puts.load(Ordering::SeqCst) > 0).await;
    relay.faults.lost_answers.store(1, Ordering::SeqCst);
    relay.fail_store(false);
    until("it is stored", async || relay.client.objects().await.1.is_empty()).await;
    assert_eq!(visible(&relay, &place).await, [version("a", 1, Some("one"))]);
    relay.stop().await.unwrap();
    assert_eq!(place.reader().newest().await.objects.len(), 1);
}

async fn a_damaged_file_of_objects_does_not_stop_the_relay(place: Place) {
    let relay = Running::start(place.config()).await;
    send(&relay, &[(of(1, None), vec![version("a", 1, Some("one"))])]).await;
    relay.stop().await.unwrap();
    let reader = place.reader();
    reader.write(&reader.newest().await.objects[0].path, "torn").await;
    let relay = Running::start(place.config()).await;
    send(&relay, &[(of(1, None), vec![version("a", 9, Some("one"))])]).await;
    assert_eq!(relay.client.objects().await.1, [version("a", 9, Some("one"))]);
    relay.stop().await.unwrap();
}

async fn what_can_be_no_object_is_refused(place: Place) {
    let relay = Running::start(place.config()).await;
    for (wrong, part) in [
        (version("", 1, Some("one")), "no kind or no name"),
        (version("a", -1, Some("one")), "before 1970"),
        (version(&"a".repeat(600), 1, Some("one")), "a name has 600 bytes"),
    ] {
        let messages = encode_objects(&[(of(1, None), vec![wrong])]);
        let refused = relay.client.send_raw(messages).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{refused}");
    }
    let mut messages = client::encode(&[(id(1), rows(0..3))]);
    let objects = encode_objects(&[]).remove(0);
    messages[0].flight_descriptor = objects.flight_descriptor;
    let refused = relay.client.send_raw(messages).await.unwrap_err();
    assert!(refused.message().contains("table objects"), "{refused}");
    relay.stop().await.unwrap();
}
