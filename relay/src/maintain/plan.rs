//! Which files are merged, and which are too old or too many. Pure: a manifest and the time in,
//! files out.

use std::collections::BTreeMap;

use weir_flow::manifest::{DataFile, ExpiredCause, Manifest, Verdicts};

/// Files of one level that are merged into one of the next: each row is written again once a level.
const FAN_IN: usize = 8;
/// Most rows of a merged file: a row group, and what is in memory at a time.
pub(crate) const MERGED_ROWS: u64 = 1 << 20;
/// So long after an hour's end its rows are all there, but for those of collectors that were cut off.
const LATE_NS: u64 = 10 * 60 * 1_000_000_000;
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// When merging is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eagerness {
    /// Little is written again: as files come in.
    Steady,
    /// As few files as possible, now.
    Now,
}

/// How long files are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Age of allows above which they go; `None` keeps them.
    pub allows_ns: Option<u64>,
    /// The same of denies, audits and the loss ledger.
    pub denies_ns: Option<u64>,
    /// Bytes of all flows and roll-ups above which the oldest go, allows before denies.
    pub bytes: Option<u64>,
}

/// The next files to be made one, all of one hour and one class; `None` if nothing is worth it. It may be one file,
/// which as it was flushed is not compressed as hard as files that stay.
pub(crate) fn merge(
    manifest: &Manifest,
    now_ns: u64,
    eagerness: Eagerness,
) -> Option<Vec<DataFile>> {
    let mut groups: BTreeMap<(&str, u8), Vec<&DataFile>> = BTreeMap::new();
    // A file of more than half the most has no partner that is worth it, unless it is written again anyway.
    let may_join = |file: &&DataFile| file.rows <= MERGED_ROWS / 2 || file.level == 0;
    for file in manifest.files.iter().filter(may_join) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        groups.entry((folder, file.verdicts as u8)).or_default().push(file);
    }
    let several = groups.into_values().find_map(|group| {
        let newest = group.iter().map(|file| file.min_time_ns).max()?;
        let end_ns = (newest.div_euclid(HOUR_NS) + 1).saturating_mul(HOUR_NS);
        let is_over =
            end_ns.saturating_add_unsigned(LATE_NS) < i64::try_from(now_ns).unwrap_or(i64::MAX);
        match eagerness {
            Eagerness::Now => fitting(group, 2),
            Eagerness::Steady => level(&group).or_else(|| {
                let worth = is_over && is_worth(&group);
                worth.then(|| fitting(group, 2)).flatten()
            }),
        }
    });
    several.or_else(|| alone(&manifest.files, eagerness))
}

/// A flushed file that no others join.
fn alone(files: &[DataFile], eagerness: Eagerness) -> Option<Vec<DataFile>> {
    let least_rows = match eagerness {
        Eagerness::Steady => MERGED_ROWS / 2 + 1,
        Eagerness::Now => 1,
    };
    let file = files.iter().find(|file| file.level == 0 && file.rows >= least_rows)?;
    Some(vec![file.clone()])
}

/// Enough files of one level, the lowest first.
fn level(group: &[&DataFile]) -> Option<Vec<DataFile>> {
    let mut levels: BTreeMap<u32, Vec<&DataFile>> = BTreeMap::new();
    for file in group {
        levels.entry(file.level).or_default().push(file);
    }
    levels.into_values().find_map(|files| {
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let enough = files.len() >= FAN_IN || rows >= MERGED_ROWS;
        enough.then(|| fitting(files, 2)).flatten()
    })
}

/// As many of the files as fit into one, the smallest first, if they are enough.
fn fitting(mut files: Vec<&DataFile>, enough: usize) -> Option<Vec<DataFile>> {
    files.sort_by(|a, b| (a.rows, &a.path).cmp(&(b.rows, &b.path)));
    let mut rows = 0;
    let fit = files.into_iter().take_while(|file| {
        rows += file.rows;
        rows <= MERGED_ROWS
    });
    let fit: Vec<DataFile> = fit.cloned().collect();
    (fit.len() >= enough).then_some(fit)
}

/// Whether late rows are enough for the largest file to be written again.
fn is_worth(group: &[&DataFile]) -> bool {
    let all: u64 = group.iter().map(|file| file.rows).sum();
    let largest = group.iter().map(|file| file.rows).max().unwrap_or(0);
    group.len() >= FAN_IN || all - largest >= largest / 4
}

/// The files that are too old, or the oldest of too many bytes, and which of both.
pub(crate) fn expired<'a>(
    manifest: &'a Manifest,
    now_ns: u64,
    retention: &Retention,
) -> Vec<(&'a DataFile, ExpiredCause)> {
    let ends = |file: &DataFile| u64::try_from(file.max_time_ns).unwrap_or(0);
    let is_old = |file: &DataFile, age_ns: Option<u64>| {
        age_ns.is_some_and(|age_ns| ends(file).saturating_add(age_ns) < now_ns)
    };
    let (old, mut kept): (Vec<&DataFile>, Vec<&DataFile>) =
        manifest.files.iter().partition(|file| {
            is_old(
                file,
                if file.verdicts == Verdicts::Allow {
                    retention.allows_ns
                } else {
                    retention.denies_ns
                },
            )
        });
    let old_losses = manifest.loss.iter().filter(|file| is_old(file, retention.denies_ns));
    let old = old.into_iter().chain(old_losses);
    let mut gone: Vec<_> = old.map(|file| (file, ExpiredCause::Age)).collect();
    if let Some(limit) = retention.bytes {
        let size = |file: &DataFile| {
            file.size_bytes + file.edges.as_ref().map_or(0, |edges| edges.size_bytes)
        };
        let mut bytes: u64 = kept.iter().map(|file| size(file)).sum();
        kept.sort_by_key(|file| (file.verdicts != Verdicts::Allow, file.max_time_ns));
        for file in kept {
            if bytes <= limit {
                break;
            }
            bytes -= size(file);
            gone.push((file, ExpiredCause::Size));
        }
    }
    gone
}

#[cfg(test)]
mod tests;
