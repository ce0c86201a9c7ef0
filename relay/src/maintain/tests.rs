use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::ObjectStore;
use weir_flow::Flow;
use weir_flow::manifest::{DataFile, ExpiredCause, ExpiredClass, Manifest, Verdicts};
use weir_flow::schema::{FlowBuilder, stored_schema};

use super::*;
use crate::parts::{self, encode_flows};
use crate::tests::flows::flow;
use crate::tests::place::{Place, over_every_store};
use crate::tests::store::{Faults, FaultyStore};

const NOW: u64 = 1_800_000_000_000_000_000;
const DAY: u64 = 24 * 3600 * 1_000_000_000;

over_every_store! {
    merged_files_have_the_same_rows_and_old_ones_go_later,
    two_relays_and_flushes_at_once_double_and_lose_nothing,
    an_answer_that_is_lost_does_not_double_rows,
    a_damaged_file_stays_and_the_others_are_merged,
    rows_past_their_time_go_and_denies_stay_longer,
    a_check_finds_what_is_wrong,
}

fn batch(numbers: impl Iterator<Item = u64>) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    numbers.for_each(|number| builder.append(&flow(number)));
    builder.finish()
}

fn maintenance(objects: Arc<dyn ObjectStore>, name: &str) -> Maintenance {
    let store = Store::new(objects);
    Maintenance::new(store, name.into(), Retention::default(), Duration::from_secs(60))
}

/// Stores so many flushes of ten rows.
async fn flush(store: &Store, flushes: std::ops::Range<u64>) -> Manifest {
    let mut manifest = store.newest().await.unwrap();
    for number in flushes {
        let rows = batch(number * 10..number * 10 + 10);
        let files = encode_flows(&[rows], &format!("f{number}"), 0).unwrap();
        for encoded in &files {
            store.put_encoded(encoded).await.unwrap();
        }
        let new: Vec<DataFile> = files.into_iter().map(|encoded| encoded.file).collect();
        let add = |base: &Manifest| {
            let mut next = base.clone();
            next.files.extend(new.iter().cloned());
            Some(next)
        };
        // Others may have built on it by the time one looks, and merged it.
        let is_done = |base: &Manifest| {
            let is_new = |path: &str| new.iter().any(|file| file.path == path);
            base.files.iter().any(|file| is_new(&file.path))
                || base.removed.iter().any(|removed| is_new(&removed.path))
        };
        manifest = store.change(&manifest, is_done, add).await.unwrap().unwrap();
    }
    manifest
}

/// The counts of all rows of a manifest, which tell rows apart.
async fn counts(store: &Store, manifest: &Manifest) -> Vec<u64> {
    let mut counts = Vec::new();
    for file in &manifest.files {
        let body: Bytes = store.get(&file.path).await.unwrap();
        for batch in parts::read(body, file.schema_version, &stored_schema()).unwrap() {
            counts.extend(Flow::read(&batch).unwrap().iter().map(|flow| flow.count));
        }
    }
    counts.sort_unstable();
    counts
}

async fn all_steps(maintenance: &mut Maintenance, mut manifest: Manifest, now: u64) -> Manifest {
    while let Some((next, _)) = maintenance.step(&manifest, now, Eagerness::Steady).await.unwrap() {
        manifest = next;
    }
    manifest
}

async fn merged_files_have_the_same_rows_and_old_ones_go_later(place: Place) {
    let mut work = maintenance(place.objects(), "m");
    let before = flush(&work.store.clone(), 0..20).await;
    let after = all_steps(&mut work, before.clone(), NOW).await;
    assert_eq!(counts(&work.store, &after).await, (0..200).collect::<Vec<_>>());
    assert_eq!(after.files.len(), 2, "{:#?}", after.files);
    assert!(after.files.iter().all(|file| file.level > 0 && file.edges.is_some()));
    // A reader with the manifest before still finds everything.
    assert_eq!(counts(&work.store, &before).await, (0..200).collect::<Vec<_>>());
    let named: usize = before.files.len() * 2;
    assert!(after.removed.len() >= named);
    let later = all_steps(&mut work, after.clone(), NOW + 61_000_000_000).await;
    assert_eq!((later.removed.len(), &later.files), (0, &after.files));
    assert!(work.store.get(&before.files[0].path).await.unwrap_err().is_not_found());
    assert!(work.store.unnamed(&later).await.unwrap().is_empty());
    let report = crate::check(work.store.objects.clone(), |_| {}).await.unwrap();
    assert_eq!((report.problems, report.rows), (vec![], 200));
}

async fn two_relays_and_flushes_at_once_double_and_lose_nothing(place: Place) {
    let objects: Arc<dyn ObjectStore> = place.objects();
    let mut one = maintenance(objects.clone(), "one");
    let mut two = maintenance(objects.clone(), "two");
    let store = one.store.clone();
    let stale = flush(&store, 0..16).await;
    let (first, second, _) = tokio::join!(
        all_steps(&mut one, stale.clone(), NOW),
        all_steps(&mut two, stale.clone(), NOW),
        flush(&store, 16..24),
    );
    assert!(first.version > stale.version || second.version > stale.version);
    let mut newest = store.newest().await.unwrap();
    while let Some((next, _)) = one.step(&newest, NOW, Eagerness::Now).await.unwrap() {
        newest = next;
    }
    assert_eq!(counts(&store, &newest).await, (0..240).collect::<Vec<_>>());
    assert_eq!(newest.files.len(), 2);
}

async fn an_answer_that_is_lost_does_not_double_rows(place: Place) {
    let faults = Arc::<Faults>::default();
    let inner = place.objects();
    let mut work = maintenance(Arc::new(FaultyStore { inner, faults: faults.clone() }), "m");
    let manifest = flush(&work.store.clone(), 0..8).await;
    faults.lost_answers.store(1, Ordering::SeqCst);
    work.step(&manifest, NOW, Eagerness::Steady).await.unwrap_err();
    // The caller knows no better than before.
    let after = all_steps(&mut work, manifest, NOW).await;
    let newest = work.store.newest().await.unwrap();
    assert!(newest.version >= after.version);
    assert_eq!(counts(&work.store, &newest).await, (0..80).collect::<Vec<_>>());
}

async fn a_damaged_file_stays_and_the_others_are_merged(place: Place) {
    let mut work = maintenance(place.objects(), "m");
    let manifest = flush(&work.store.clone(), 0..10).await;
    let damaged = manifest.files[0].clone();
    work.store.put(&damaged.path, Bytes::from_static(b"torn")).await.unwrap();
    let after = all_steps(&mut work, manifest, NOW).await;
    assert!(after.files.contains(&damaged));
    assert_eq!(after.files.len(), 3, "{:#?}", after.files);
    let report = crate::check(work.store.objects.clone(), |_| {}).await.unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].starts_with(&damaged.path), "{:?}", report.problems);
}

async fn rows_past_their_time_go_and_denies_stay_longer(place: Place) {
    let mut work = maintenance(place.objects(), "m");
    let manifest = flush(&work.store.clone(), 0..4).await;
    work.retention = Retention { allows_ns: Some(DAY), denies_ns: Some(30 * DAY), bytes: None };
    let at = manifest.files[0].max_time_ns as u64 + 2 * DAY;
    let (after, step) = work.step(&manifest, at, Eagerness::Steady).await.unwrap().unwrap();
    let left = counts(&work.store, &after).await;
    assert_eq!(left, (0..40).filter(|n| n % 7 == 0).collect::<Vec<_>>());
    let Step::Removed { files, rows, .. } = step else { panic!("{step}") };
    assert_eq!((files, rows), (4, 40 - left.len() as u64));
    let end = |verdicts| {
        let files = manifest.files.iter().filter(move |file| file.verdicts == verdicts);
        files.map(|file| file.max_time_ns).max().unwrap()
    };
    let [expired] = &after.expired[..] else { panic!("{:?}", after.expired) };
    assert_eq!((expired.class, expired.cause), (ExpiredClass::Allow, ExpiredCause::Age));
    assert_eq!((expired.rows, expired.until_ns), (rows, end(Verdicts::Allow)));
    let last = all_steps(&mut work, after, at + 40 * DAY).await;
    assert_eq!(last.files, []);
    assert_eq!(last.expired.iter().map(|expired| expired.rows).sum::<u64>(), 40);
    assert_eq!(last.expired[1].until_ns, end(Verdicts::Deny));
}

type Damage = fn(&mut Manifest);

/// What a check is for: each kind of damage is found and named.
async fn a_check_finds_what_is_wrong(place: Place) {
    let work = maintenance(place.objects(), "m");
    let good = flush(&work.store, 0..2).await;
    let check = async |change: &dyn Fn(&mut Manifest)| {
        let changed = |base: &Manifest| {
            let mut next = Manifest { version: base.version, ..good.clone() };
            change(&mut next);
            Some(next)
        };
        let newest = work.store.newest().await.unwrap();
        work.store.change(&newest, |_| false, changed).await.unwrap();
        crate::check(work.store.objects.clone(), |_| {}).await.unwrap()
    };
    assert_eq!(check(&|_| {}).await.problems, Vec::<String>::new());
    let expected: [(&str, Damage); 7] = [
        ("is not there", |m| m.files[0].path = "flows/x.parquet".into()),
        ("the manifest says 7", |m| m.files[0].rows = 7),
        ("bytes, the manifest says 1", |m| m.files[0].size_bytes = 1),
        ("has times", |m| m.files[0].min_time_ns += 1),
        ("has verdicts", |m| m.files[0].verdicts = Verdicts::Deny),
        ("names it 2 times", |m| m.files.push(m.files[0].clone())),
        ("is not that of its rows", |m| m.files[0].edges = m.files[2].edges.clone()),
    ];
    for (words, change) in expected {
        let problems = check(&change).await.problems;
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
    let report = check(&|m| m.files.truncate(1)).await;
    assert_eq!(report.orphans.len(), 2 * (good.files.len() - 1), "{:?}", report.orphans);
}
