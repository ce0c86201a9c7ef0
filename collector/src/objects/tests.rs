//! Against the real relay.

use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use weir_flow::schema::objects::ObjectVersion;
use weir_flow::wire::{HotTicket, ObjectsTicket};
use weir_policy::Cluster;
use weir_policy::model::Pod;
use weir_relay::{Relay, RelayConfig, RelayError};

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

/// On threads of its own, so that its connections end with it.
struct RunningRelay {
    runtime: Runtime,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RelayError>>,
}

impl RunningRelay {
    fn start(folder: &std::path::Path) -> Self {
        let config = RelayConfig {
            ingest: ([127, 0, 0, 1], 0).into(),
            ingest_socket: Some(folder.join("relay.sock")),
            ..RelayConfig::new(folder.join("store"))
        };
        let runtime = Runtime::new().unwrap();
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let task = runtime.spawn(async { Relay::bind(config).await?.run(shutdown).await });
        Self { runtime, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.runtime.shutdown_background();
    }

    /// Loses what it has not stored.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.runtime.shutdown_background();
    }
}

fn address(folder: &std::path::Path) -> RelayAddress {
    format!("unix://{}", folder.join("relay.sock").display()).parse().unwrap()
}

/// Hot versions: time, name, and whether it is there.
async fn hot(folder: &std::path::Path) -> Vec<(i64, String, bool)> {
    let ticket = ObjectsTicket { objects: HotTicket { relay_epoch: 0, after: 0 } };
    let ticket = arrow_flight::Ticket { ticket: wire::encode(&ticket) };
    let Ok(channel) = address(folder).connect().await else { return vec![] };
    let stream = FlightServiceClient::new(channel).do_get(ticket).await.unwrap().into_inner();
    let stream = futures::TryStreamExt::map_err(stream, Into::into);
    let batches = arrow_flight::decode::FlightRecordBatchStream::new_from_flight_data(stream);
    let batches: Vec<_> = futures::TryStreamExt::try_collect(batches).await.unwrap();
    let versions = batches.iter().flat_map(|batch| ObjectVersion::read(batch).unwrap());
    versions.map(|v| (v.time.0, v.name, v.manifest.is_some())).collect()
}

fn state(pods: &[&str]) -> Option<ClusterState> {
    let pod = |name: &&str| Pod { name: (*name).into(), ..Pod::default() };
    let cluster = Cluster { pods: pods.iter().map(pod).collect(), ..Cluster::default() };
    Some(ClusterState { cluster: Arc::new(cluster), ..ClusterState::default() })
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn names(versions: &[(i64, String, bool)]) -> Vec<(&str, bool)> {
    versions.iter().map(|(_, name, there)| (name.as_str(), *there)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_learns_every_change_also_of_the_time_it_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (states, receiver) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let teller =
        || Teller { relay: address(folder), cluster: "lab".into(), node: "n1".into(), epoch: 1 };
    let run = |receiver, stop: &CancellationToken| {
        tokio::spawn(teller().run(receiver, Arc::default(), stop.clone(), DEADLINE))
    };
    let telling = run(receiver, &shutdown);
    states.send(state(&["a", "b"])).unwrap();
    let relay = RunningRelay::start(folder);
    until("a and b are known", async || hot(folder).await.len() == 2).await;
    states.send(state(&["a"])).unwrap();
    until("b is gone", async || hot(folder).await.len() == 3).await;
    assert_eq!(names(&hot(folder).await), [("a", true), ("b", true), ("b", false)]);

    // Killed, the relay still knows what it said it has, and learns what it missed.
    let before = hot(folder).await;
    relay.kill().await;
    states.send(state(&["a", "c"])).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    states.send(state(&["a", "d"])).unwrap();
    let relay = RunningRelay::start(folder);
    let known = async || {
        let mut known = hot(folder).await;
        known.sort();
        known
    };
    until("the relay has learnt", async || known().await.len() == 6).await;
    let after = known().await;
    assert_eq!(after[..3], before);
    assert_eq!(names(&after[3..]), [("c", true), ("c", false), ("d", true)]);
    assert_eq!(after[4].0, after[5].0);

    // Told to stop, it says everything first.
    states.send(state(&["e"])).unwrap();
    drop(states);
    shutdown.cancel();
    timeout(DEADLINE, telling).await.unwrap().unwrap();
    assert_eq!(known().await.len(), 9);
    relay.stop().await;

    // What went while no collector ran is gone as soon as one runs again; the rest is not repeated.
    let relay = RunningRelay::start(folder);
    let (states, receiver) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let telling = run(receiver, &shutdown);
    states.send(state(&["f"])).unwrap();
    until("f is known", async || known().await.len() == 2).await;
    let mut last = known().await;
    last.sort_by_key(|(_, name, _)| name.clone());
    assert_eq!(names(&last), [("e", false), ("f", true)]);
    drop(states);
    shutdown.cancel();
    timeout(DEADLINE, telling).await.unwrap().unwrap();
    relay.stop().await;
}

#[test]
fn parts_are_bounded() {
    let version = |bytes: usize| ObjectVersion {
        time: weir_flow::schema::TimestampNs(0),
        cluster: String::new(),
        node: String::new(),
        kind: "Pod".into(),
        namespace: String::new(),
        name: "a".into(),
        manifest: Some("x".repeat(bytes)),
    };
    let sizes = |versions: &[ObjectVersion]| -> Vec<usize> {
        parts(versions.iter().cloned()).map(|part| part.len()).collect()
    };
    assert_eq!(sizes(&[]), [0; 0]);
    assert_eq!(sizes(&vec![version(1); BATCH_VERSIONS + 1]), [BATCH_VERSIONS, 1]);
    assert_eq!(sizes(&vec![version(BATCH_BYTES / 2); 5]), [2, 2, 1]);
    assert_eq!(sizes(&[version(BATCH_BYTES + 1), version(1)]), [1, 1]);
}
