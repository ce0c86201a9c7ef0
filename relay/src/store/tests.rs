use super::*;
use crate::tests::place::{Place, over_every_store};

over_every_store! {
    manifests_follow_each_other_and_two_writers_do_not_collide,
    old_manifests_and_unnamed_files_go,
    two_may_sweep_at_once,
    two_writers_lose_no_manifest,
    a_damaged_manifest_is_named,
}

fn file(name: &str) -> DataFile {
    DataFile {
        path: format!("{FLOWS_PREFIX}/{name}.parquet"),
        rows: 1,
        size_bytes: 2,
        min_time_ns: 3,
        max_time_ns: 4,
        schema_version: 1,
        ..DataFile::default()
    }
}

fn up_to(collector: &str, sequence: u64, last_seen_ns: u64) -> StoredUpTo {
    StoredUpTo { collector: collector.into(), epoch: 1, sequence, last_seen_ns }
}

fn change<'a>(files: &'a [DataFile], stored: &'a [StoredUpTo]) -> Change<'a> {
    Change { files, stored, ..Change::default() }
}

fn flushed(relay_epoch: u64, position: u64, at_ns: u64) -> FlushedUpTo {
    FlushedUpTo { relay_epoch, position, loss_position: 0, at_ns }
}

async fn manifests_follow_each_other_and_two_writers_do_not_collide(place: Place) {
    let store = Store::new(place.objects());
    let empty = store.newest().await.unwrap();
    assert_eq!(empty, Manifest::default());
    let first = store.add(&empty, change(&[file("a")], &[up_to("x", 3, 9)]), true).await.unwrap();
    assert_eq!(first.version, 1);
    // A writer that does not know of the first.
    let ours = flushed(7, 3, 9);
    let (files, stored) = ([file("b")], [up_to("y", 5, 9)]);
    let flush = Change { flushed: Some(&ours), ..change(&files, &stored) };
    let second = store.add(&empty, flush, true).await.unwrap();
    assert_eq!(second.version, 2);
    assert_eq!(second.files, [file("a"), file("b")]);
    assert_eq!(second.stored, [up_to("x", 3, 9), up_to("y", 5, 9)]);
    // The same once more, as after an answer that got lost.
    assert_eq!(store.add(&first, flush, false).await.unwrap(), second);
    assert_eq!(store.newest().await.unwrap(), second);
    // And after somebody merged its file away.
    let merged = Manifest { version: 3, files: vec![file("ab")], ..second };
    store.put(&Manifest::path(3), serde_json::to_vec(&merged).unwrap().into()).await.unwrap();
    assert_eq!(store.add(&first, flush, false).await.unwrap(), merged);
}

#[test]
fn the_furthest_counts_and_the_long_silent_are_dropped() {
    let base = Manifest {
        stored: vec![up_to("ahead", 9, 0), up_to("behind", 2, 0), up_to("gone", 1, 0)],
        ..Manifest::default()
    };
    let next = succeed(&base, change(&[], &[up_to("ahead", 5, 10), up_to("behind", 3, 10)]));
    assert_eq!(next.stored, [up_to("ahead", 9, 0), up_to("behind", 3, 10), up_to("gone", 1, 0)]);
    let next = succeed(&base, change(&[], &[up_to("new", 1, FORGET_AFTER_NS)]));
    assert_eq!(next.stored, [up_to("new", 1, FORGET_AFTER_NS)]);
    let base = Manifest { flushed: vec![flushed(1, 5, 10), flushed(2, 6, 0)], ..base };
    let ours = flushed(1, 9, 20);
    let flush = |ours| Change { flushed: Some(ours), ..Change::default() };
    assert_eq!(succeed(&base, flush(&ours)).flushed, [flushed(2, 6, 0), ours.clone()]);
    let later = flushed(3, 1, FORGET_AFTER_NS);
    assert_eq!(succeed(&base, flush(&later)).flushed, [flushed(1, 5, 10), later.clone()]);
}

async fn old_manifests_and_unnamed_files_go(place: Place) {
    let store = Store::new(place.objects());
    let mut manifest = Manifest::default();
    for number in 0..20 {
        let name = file(&number.to_string());
        store.put(&name.path, Bytes::from_static(b"x")).await.unwrap();
        manifest = store.add(&manifest, change(&[name], &[]), true).await.unwrap();
    }
    store.prune(manifest.version).await;
    let mut kept = store.versions().await.unwrap();
    kept.sort_unstable();
    assert_eq!(kept, (20 - MANIFESTS_KEPT..=20).collect::<Vec<_>>());
    for left in ["ours-1", "others-1"] {
        store.put(&file(left).path, Bytes::from_static(b"x")).await.unwrap();
    }
    store.sweep(&manifest, Some("ours-"), ORPHAN_AGE).await.unwrap();
    let listed = async || {
        let prefix = Path::from(FLOWS_PREFIX);
        store.objects.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap()
    };
    let files = listed().await;
    assert_eq!(files.len(), 21);
    assert!(!files.iter().any(|object| object.location.as_ref() == file("ours-1").path));
    store.sweep(&manifest, Some("ours-"), Duration::ZERO).await.unwrap();
    assert_eq!(listed().await.len(), 20);
}

/// A file that somebody else deleted meanwhile is as gone as it should be.
async fn two_may_sweep_at_once(place: Place) {
    let store = Store::new(place.objects());
    for left in 0..8 {
        let path = file(&format!("left-{left}")).path;
        store.put(&path, Bytes::from_static(b"x")).await.unwrap();
    }
    let other = Store::new(place.objects());
    let manifest = Manifest::default();
    let sweeps = tokio::join!(
        store.sweep(&manifest, Some("left-"), ORPHAN_AGE),
        other.sweep(&manifest, Some("left-"), ORPHAN_AGE),
    );
    assert!(matches!(sweeps, (Ok(()), Ok(()))), "{sweeps:?}");
    assert!(store.unnamed(&manifest).await.unwrap().is_empty());
}

async fn a_damaged_manifest_is_named(place: Place) {
    let store = Store::new(place.objects());
    store.put(&Manifest::path(3), Bytes::from_static(b"{\"version\":")).await.unwrap();
    let error = store.newest().await.unwrap_err().to_string();
    assert!(error.contains(&Manifest::path(3)), "{error}");
}

/// A manifest is created only if it is absent, so of two writers one has to look again.
async fn two_writers_lose_no_manifest(place: Place) {
    const EACH: usize = 15;
    let writer = async |name: &'static str| {
        let store = Store::new(place.objects());
        let mut known = Manifest::default();
        for number in 0..EACH {
            let new = file(&format!("{name}-{number}"));
            let is_done = |base: &Manifest| base.files.contains(&new);
            let add = |base: &Manifest| {
                let mut next = base.clone();
                next.files.push(new.clone());
                Some(next)
            };
            known = store.change(&known, is_done, add).await.unwrap().unwrap();
        }
    };
    tokio::join!(writer("a"), writer("b"));
    let newest = Store::new(place.objects()).newest().await.unwrap();
    let mut paths: Vec<&str> = newest.files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((newest.files.len(), paths.len()), (2 * EACH, 2 * EACH));
}
