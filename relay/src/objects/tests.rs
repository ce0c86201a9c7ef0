use super::*;

const SECOND: i64 = 1_000_000_000;
const NOW: u64 = 1_000 * SECOND as u64;

fn version(node: &str, name: &str, second: i64, manifest: Option<&str>) -> ObjectVersion {
    ObjectVersion {
        time: TimestampNs(second * SECOND),
        cluster: "lab".into(),
        node: node.into(),
        kind: "Pod".into(),
        namespace: "x".into(),
        name: name.into(),
        manifest: manifest.map(str::to_owned),
    }
}

fn id(node: &str) -> ObjectsId {
    ObjectsId {
        cluster: "lab".into(),
        node: node.into(),
        epoch: 1,
        sequence: 1,
        complete_at_ns: None,
    }
}

fn count(taken: Result<Option<RecordBatch>, Refusal>) -> Result<usize, Refusal> {
    taken.map(|new| new.map_or(0, |batch| batch.num_rows()))
}

fn empty() -> Objects {
    Objects::restore(1, vec![])
}

fn hot(objects: &Objects) -> Vec<ObjectVersion> {
    let view = objects.view(&HotTicket { relay_epoch: 1, after: 0 }, 0);
    view.batches.iter().flat_map(|(_, batch)| ObjectVersion::read(batch).unwrap()).collect()
}

#[test]
fn only_what_differs_from_the_newest_version_is_kept() {
    let mut objects = empty();
    let first = version("n1", "a", 1, Some("one"));
    assert_eq!(count(objects.take(vec![first.clone()], NOW)), Ok(1));
    // Again, by another collector, and by the same one after it began anew.
    let again = [version("n2", "a", 2, Some("one")), version("n1", "a", 9, Some("one"))];
    assert_eq!(count(objects.take(again.to_vec(), NOW)), Ok(0));
    let second = version("n1", "a", 10, Some("two"));
    let gone = version("n1", "a", 11, None);
    assert_eq!(count(objects.take(vec![second.clone(), gone.clone()], NOW)), Ok(2));
    // Late words of another collector, and of one that never heard of it.
    let late = [version("n2", "a", 10, Some("two")), version("n2", "b", 3, None)];
    assert_eq!(count(objects.take(late.to_vec(), NOW)), Ok(0));
    let back = version("n2", "a", 12, Some("one"));
    assert_eq!(count(objects.take(vec![back.clone()], NOW)), Ok(1));
    assert_eq!(hot(&objects), [first, second, gone, back]);
}

#[test]
fn what_a_complete_collector_does_not_know_any_more_is_gone() {
    let mut objects = empty();
    let all = ["a", "b", "c"].map(|name| version("n1", name, 1, Some("one")));
    objects.take(all.to_vec(), NOW).unwrap();
    // Another collector has confirmed c, so that one's word counts.
    objects.take(vec![version("n2", "c", 2, Some("one"))], NOW).unwrap();
    let known = FxHashSet::from_iter([Key::of(&all[0])]);
    assert_eq!(count(objects.complete(&id("n1"), 5 * SECOND, &known, NOW)), Ok(1));
    assert_eq!(hot(&objects).last(), Some(&version("n1", "b", 5, None)));
    assert_eq!(count(objects.complete(&id("n2"), 6 * SECOND, &FxHashSet::default(), NOW)), Ok(1));
    assert_eq!(hot(&objects).last(), Some(&version("n2", "c", 6, None)));
}

#[test]
fn files_and_flushes() {
    let stored = vec![version("n1", "a", 1, Some("one")), version("n1", "b", 2, Some("one"))];
    let gone = version("n1", "b", 3, None);
    let mut objects = Objects::restore(1, [vec![gone], stored].concat());
    assert_eq!(objects.size(), (1, 0));
    assert!(objects.flush_job().is_none());
    assert_eq!(count(objects.take(vec![version("n1", "a", 4, Some("one"))], NOW)), Ok(0));
    assert_eq!(count(objects.take(vec![version("n1", "b", 4, Some("one"))], NOW)), Ok(1));
    let job = objects.flush_job().unwrap();
    assert_eq!(count(objects.take(vec![version("n1", "b", 5, Some("two"))], NOW)), Ok(1));
    objects.flushed(job.up_to);
    assert_eq!(hot(&objects), [version("n1", "b", 5, Some("two"))]);
    let header = objects.view(&HotTicket { relay_epoch: 1, after: 2 }, 7).header;
    assert_eq!((header.manifest_version, header.first, header.last), (7, 2, 2));
    objects.close();
    assert_eq!(objects.take(vec![], NOW), Err(Refusal::Closed));
}

#[test]
fn a_version_from_the_future_does_not_keep_later_ones_out() {
    let mut objects = empty();
    objects.take(vec![version("n1", "a", i64::MAX / SECOND, Some("one"))], NOW).unwrap();
    let later = NOW + 100 * SECOND as u64;
    assert_eq!(count(objects.take(vec![version("n1", "a", 1_100, Some("two"))], later)), Ok(1));
}

#[test]
fn tidy_files_hold_no_equal_versions() {
    let versions = vec![
        version("n1", "b", 2, Some("one")),
        version("n1", "a", 5, None),
        version("n2", "a", 3, Some("one")),
        version("n1", "a", 1, Some("one")),
    ];
    let expected =
        [version("n1", "a", 1, Some("one")), version("n1", "a", 5, None), versions[0].clone()];
    assert_eq!(tidy(versions), expected);
}
