use super::*;

const HOUR: u64 = HOUR_NS as u64;

fn file(name: &str, hour: u64, rows: u64, verdicts: Verdicts, level: u32) -> DataFile {
    DataFile {
        path: format!("flows/hour={hour}/{name}.parquet"),
        rows,
        size_bytes: rows * 10,
        min_time_ns: (hour * HOUR) as i64,
        max_time_ns: (hour * HOUR) as i64 + 1,
        verdicts,
        level,
        ..DataFile::default()
    }
}

fn manifest(files: impl IntoIterator<Item = DataFile>) -> Manifest {
    Manifest { files: files.into_iter().collect(), ..Manifest::default() }
}

fn names(files: Option<Vec<DataFile>>) -> Vec<String> {
    files.unwrap_or_default().into_iter().map(|file| file.path).collect()
}

#[test]
fn small_files_of_one_hour_and_class_are_merged_when_there_are_enough() {
    let of = |count: u64| {
        let allow = (0..count).map(|n| file(&format!("a{n}"), 5, 100, Verdicts::Allow, 0));
        let deny = (0..7).map(|n| file(&format!("d{n}"), 5, 100, Verdicts::Deny, 0));
        let other = (0..7).map(|n| file(&format!("o{n}"), 6, 100, Verdicts::Allow, 0));
        manifest(allow.chain(deny).chain(other))
    };
    let now = 5 * HOUR;
    assert_eq!(merge(&of(7), now, Eagerness::Steady), None);
    let merged = names(merge(&of(8), now, Eagerness::Steady));
    assert_eq!(merged.len(), 8);
    assert!(merged.iter().all(|name| name.starts_with("flows/hour=5/a")), "{merged:?}");
    assert_eq!(names(merge(&of(3), now, Eagerness::Now)).len(), 3);
}

#[test]
fn an_hour_that_is_over_becomes_one_file_and_late_rows_do_not_write_it_again_each_time() {
    let with = |late: u64| {
        manifest([
            file("big", 5, 100_000, Verdicts::Allow, 2),
            file("late", 5, late, Verdicts::Allow, 0),
        ])
    };
    assert_eq!(merge(&with(50_000), 6 * HOUR, Eagerness::Steady), None, "still late ones to come");
    let over = 6 * HOUR + LATE_NS + 1;
    assert_eq!(names(merge(&with(50_000), over, Eagerness::Steady)).len(), 2);
    assert_eq!(merge(&with(1000), over, Eagerness::Steady), None);
    assert_eq!(names(merge(&with(1000), over, Eagerness::Now)).len(), 2);
}

#[test]
fn merged_files_do_not_outgrow_memory() {
    let files = (0..20).map(|n| file(&n.to_string(), 5, 300_000, Verdicts::Allow, 0));
    let merged = merge(&manifest(files), 0, Eagerness::Steady).unwrap();
    assert_eq!(merged.len(), 3);
    let full = (0..20).map(|n| file(&n.to_string(), 5, MERGED_ROWS / 2 + 1, Verdicts::Allow, 1));
    assert_eq!(merge(&manifest(full), 9 * HOUR, Eagerness::Now), None);
}

#[test]
fn a_file_that_nobody_joins_is_compressed_harder_once() {
    let of = |rows, level| manifest([file("alone", 5, rows, Verdicts::Allow, level)]);
    let large = MERGED_ROWS / 2 + 1;
    for (eagerness, rows, level, is_written_again) in [
        (Eagerness::Steady, large, 0, true),
        (Eagerness::Steady, 2 * MERGED_ROWS, 0, true),
        (Eagerness::Steady, large, 1, false),
        (Eagerness::Steady, large - 1, 0, false),
        (Eagerness::Now, large - 1, 0, true),
        (Eagerness::Now, large - 1, 1, false),
    ] {
        let merged = merge(&of(rows, level), 5 * HOUR, eagerness);
        assert_eq!(merged.is_some(), is_written_again, "{eagerness:?}, {rows} rows, level {level}");
    }
}

#[test]
fn a_large_flushed_file_takes_smaller_ones_along() {
    let large = MERGED_ROWS / 2 + 1;
    let files = |level| {
        let sizes = [large, large, large / 2, large / 4].into_iter().zip(0..);
        manifest(sizes.map(|(rows, n)| file(&format!("{n}"), 5, rows, Verdicts::Allow, level)))
    };
    let rows = |level, eagerness| -> Option<Vec<u64>> {
        let merged = merge(&files(level), 5 * HOUR, eagerness)?;
        Some(merged.iter().map(|file| file.rows).collect())
    };
    for eagerness in [Eagerness::Steady, Eagerness::Now] {
        assert_eq!(rows(0, eagerness), Some(vec![large / 4, large / 2, large]), "{eagerness:?}");
    }
    assert_eq!(rows(1, Eagerness::Now), Some(vec![large / 4, large / 2]));
}

#[test]
fn merging_ends() {
    let mut files: Vec<DataFile> =
        (0..500).map(|n| file(&format!("{n:03}"), 5, 1 + n % 7, Verdicts::Allow, 0)).collect();
    let rows = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
    let all = rows(&files);
    for round in 0..1000 {
        let Some(merged) = merge(&manifest(files.clone()), 7 * HOUR, Eagerness::Steady) else {
            assert!(files.len() <= FAN_IN, "{} files left", files.len());
            assert_eq!(rows(&files), all);
            return;
        };
        files.retain(|file| !merged.contains(file));
        let level = merged.iter().map(|file| file.level).max().unwrap() + 1;
        files.push(file(&format!("m{round}"), 5, rows(&merged), Verdicts::Allow, level));
    }
    panic!("merging does not end");
}

#[test]
fn denies_are_kept_for_longer_and_allows_go_first() {
    let files = manifest([
        file("a1", 1, 10, Verdicts::Allow, 0),
        file("d1", 1, 10, Verdicts::Deny, 0),
        file("old", 1, 10, Verdicts::Any, 0),
        file("a5", 5, 10, Verdicts::Allow, 0),
        file("d5", 5, 10, Verdicts::Deny, 0),
    ]);
    let gone = |now: u64, retention: Retention| {
        let gone = expired(&files, now * HOUR, &retention);
        gone.iter()
            .map(|(file, _)| &file.path[file.path.rfind('/').unwrap() + 1..])
            .collect::<Vec<_>>()
    };
    let age = |allows: u64, denies: u64| Retention {
        allows_ns: Some(allows * HOUR),
        denies_ns: Some(denies * HOUR),
        bytes: None,
    };
    assert!(gone(100, Retention::default()).is_empty());
    assert_eq!(gone(6, age(2, 8)), ["a1.parquet"]);
    assert_eq!(gone(10, age(2, 8)), ["a1.parquet", "d1.parquet", "old.parquet", "a5.parquet"]);
    let bytes = |bytes| Retention { bytes: Some(bytes), ..Retention::default() };
    assert_eq!(gone(6, bytes(450)), ["a1.parquet"]);
    assert_eq!(gone(6, bytes(250)), ["a1.parquet", "a5.parquet", "d1.parquet"]);
    assert!(gone(6, bytes(500)).is_empty());
}
