use object_store::memory::InMemory;

use super::*;

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

#[tokio::test]
async fn manifests_follow_each_other_and_two_writers_do_not_collide() {
    let store = Store::new(Arc::new(InMemory::new()));
    let empty = store.newest().await.unwrap();
    assert_eq!(empty, Manifest::default());
    let first = store.add(&empty, &[file("a")], None, &[up_to("x", 3, 9)], true).await.unwrap();
    assert_eq!(first.version, 1);
    // A writer that does not know of the first.
    let second = store.add(&empty, &[file("b")], None, &[up_to("y", 5, 9)], true).await.unwrap();
    assert_eq!(second.version, 2);
    assert_eq!(second.files, [file("a"), file("b")]);
    assert_eq!(second.stored, [up_to("x", 3, 9), up_to("y", 5, 9)]);
    // The same once more, as after an answer that got lost.
    let again = store.add(&first, &[file("b")], None, &[], false).await.unwrap();
    assert_eq!(again, second);
    assert_eq!(store.newest().await.unwrap(), second);
}

#[test]
fn the_furthest_counts_and_the_long_silent_are_dropped() {
    let base = Manifest {
        stored: vec![up_to("ahead", 9, 0), up_to("behind", 2, 0), up_to("gone", 1, 0)],
        ..Manifest::default()
    };
    let next = succeed(&base, &[], None, &[up_to("ahead", 5, 10), up_to("behind", 3, 10)]);
    assert_eq!(next.stored, [up_to("ahead", 9, 0), up_to("behind", 3, 10), up_to("gone", 1, 0)]);
    let next = succeed(&base, &[], None, &[up_to("new", 1, FORGET_AFTER_NS)]);
    assert_eq!(next.stored, [up_to("new", 1, FORGET_AFTER_NS)]);
}

#[tokio::test]
async fn old_manifests_and_unnamed_files_go() {
    let store = Store::new(Arc::new(InMemory::new()));
    let mut manifest = Manifest::default();
    for number in 0..20 {
        let name = file(&number.to_string());
        store.put(&name.path, Bytes::from_static(b"x")).await.unwrap();
        manifest = store.add(&manifest, &[name], None, &[], true).await.unwrap();
    }
    store.prune(manifest.version).await;
    let mut kept = store.versions().await.unwrap();
    kept.sort_unstable();
    assert_eq!(kept, (20 - MANIFESTS_KEPT..=20).collect::<Vec<_>>());
    store.put(&file("left").path, Bytes::from_static(b"x")).await.unwrap();
    store.sweep(&manifest, ORPHAN_AGE).await.unwrap();
    let listed = async || {
        let prefix = Path::from(FLOWS_PREFIX);
        store.objects.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!(listed().await, 21);
    store.sweep(&manifest, Duration::ZERO).await.unwrap();
    assert_eq!(listed().await, 20);
}

#[tokio::test]
async fn a_damaged_manifest_is_named() {
    let store = Store::new(Arc::new(InMemory::new()));
    store.put(&Manifest::path(3), Bytes::from_static(b"{\"version\":")).await.unwrap();
    let error = store.newest().await.unwrap_err().to_string();
    assert!(error.contains(&Manifest::path(3)), "{error}");
}
