//! Whether an answer is all of it: what the ledger says of its time, what retention removed of it, and
//! who could not be asked.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_flow::schema::TimestampNs;
use weir_flow::schema::loss::{BEHIND_STORE, LossRow, RETENTION};

use super::range::TimeRange;
use super::snapshot::Unreachable;

/// Most kinds of loss that an answer lists.
const MAX_LOSSES: usize = 16;
/// Most bytes of an error.
const MAX_ERROR_BYTES: usize = 200;

/// What is known to be missing from `flows` over a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Completeness {
    /// Nothing is known to be missing.
    pub(crate) complete: bool,
    /// Begin of the time; null: since ever.
    from: Option<TimestampNs>,
    /// End of the time; null: until now.
    until: Option<TimestampNs>,
    /// Verdicts that are in no row.
    missing: Missing,
    /// What was lost, by stage and reason, most first.
    losses: Vec<Lost>,
    /// Further kinds of loss that are not listed.
    more_losses: usize,
    /// What was stored in that time and is not any more.
    removed: Vec<Removed>,
    /// Sources that could not be asked.
    unreachable: Vec<Source>,
}

/// Verdicts by what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Missing {
    allow: u64,
    deny: u64,
    audit: u64,
    /// Nobody can tell.
    unknown: u64,
}

/// One kind of loss. The ledger says what the columns mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Lost {
    stage: String,
    reason: String,
    verdict: String,
    unit: String,
    count: u64,
}

/// Rows that retention removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Removed {
    /// Of what: `allow`, `deny` with audits, empty for all three.
    verdict: String,
    /// `rows` of flows, or `entries` of the ledger: what was lost then is not known any more.
    unit: String,
    /// `age` or `size`.
    reason: String,
    /// Everything from then on is there.
    before: TimestampNs,
    /// How many went, also of other times.
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Source {
    relay: String,
    /// `flows`: rows that are not stored yet are missing. `loss`: what it knows to be lost is.
    missing: &'static str,
    error: String,
}

impl Completeness {
    /// `rows` are the entries of the ledger that meet the range.
    pub(crate) fn of(range: TimeRange, rows: &[LossRow], unreachable: &[Unreachable]) -> Self {
        let mut missing = Missing::default();
        let mut removed = Vec::new();
        let mut sums: BTreeMap<[&str; 4], u64> = BTreeMap::new();
        for row in rows {
            if row.count == 0 || BEHIND_STORE.contains(&row.stage.as_str()) {
                continue;
            }
            if row.stage == RETENTION {
                removed.push(Removed {
                    verdict: row.verdict.clone(),
                    unit: row.unit.clone(),
                    reason: row.reason.clone(),
                    before: TimestampNs(row.end_time.0.saturating_add(1)),
                    count: row.count,
                });
                continue;
            }
            let sum = sums.entry([&row.stage, &row.reason, &row.verdict, &row.unit]).or_default();
            *sum = sum.saturating_add(row.count);
            if row.unit == "verdicts" {
                let of = match row.verdict.as_str() {
                    "allow" => &mut missing.allow,
                    "deny" => &mut missing.deny,
                    "audit" => &mut missing.audit,
                    _ => &mut missing.unknown,
                };
                *of = of.saturating_add(row.count);
            }
        }
        let mut losses: Vec<Lost> = sums
            .into_iter()
            .map(|([stage, reason, verdict, unit], count)| Lost {
                stage: stage.to_owned(),
                reason: reason.to_owned(),
                verdict: verdict.to_owned(),
                unit: unit.to_owned(),
                count,
            })
            .collect();
        losses.sort_by_key(|lost| std::cmp::Reverse(lost.count));
        let more_losses = losses.len().saturating_sub(MAX_LOSSES);
        losses.truncate(MAX_LOSSES);
        let unreachable: Vec<Source> = unreachable
            .iter()
            .map(|source| Source {
                relay: source.relay.clone(),
                missing: if source.rows { "flows" } else { "loss" },
                error: shortened(&source.error),
            })
            .collect();
        Self {
            complete: losses.is_empty() && removed.is_empty() && unreachable.is_empty(),
            from: range.from(),
            until: range.until(),
            missing,
            losses,
            more_losses,
            removed,
            unreachable,
        }
    }

    /// Nobody can tell, and why.
    pub(crate) fn unknown(range: TimeRange, error: &str) -> Self {
        let ledger = Source { relay: String::new(), missing: "loss", error: shortened(error) };
        let unreachable = vec![ledger];
        Self { complete: false, unreachable, ..Self::of(range, &[], &[]) }
    }

    /// As JSON of printable ASCII, short enough for a header.
    pub(crate) fn to_ascii(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut ascii = String::with_capacity(json.len());
        for c in json.chars() {
            match c {
                ' '..='~' => ascii.push(c),
                other => {
                    let mut units = [0; 2];
                    for unit in other.encode_utf16(&mut units) {
                        ascii.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        ascii
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ERROR_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stage: &str, verdict: &str, unit: &str, count: u64) -> LossRow {
        LossRow {
            time: TimestampNs(1),
            end_time: TimestampNs(2),
            cluster: "lab".into(),
            node: "n1".into(),
            stage: stage.into(),
            verdict: verdict.into(),
            unit: unit.into(),
            count,
            reason: "fällt aus".into(),
        }
    }

    #[test]
    fn losses_are_summed_by_kind_and_only_verdicts_count_as_missing() {
        let rows = [
            row("spool", "allow", "verdicts", 3),
            row("spool", "allow", "verdicts", 4),
            row("kernel", "deny", "verdicts", 1),
            row("kernel", "", "verdicts", 9),
            row("conntrack", "allow", "connections", 100),
            row("follower", "allow", "verdicts", 50),
            row("relay", "deny", "verdicts", 0),
        ];
        let range = TimeRange { from_ns: 0, ..TimeRange::ALL };
        let told = Completeness::of(range, &rows, &[]);
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["complete"], false);
        assert_eq!(
            (&json["from"], &json["until"]),
            (&"1970-01-01T00:00:00.000000000Z".into(), &().into())
        );
        let missing = serde_json::json!({"allow": 7, "deny": 1, "audit": 0, "unknown": 9});
        assert_eq!(json["missing"], missing);
        let counts: Vec<_> =
            json["losses"].as_array().unwrap().iter().map(|lost| lost["count"].clone()).collect();
        assert_eq!(counts, [100, 9, 7, 1]);
        let ascii = told.to_ascii();
        assert!(ascii.is_ascii());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&ascii).unwrap(), json);
        assert!(Completeness::of(range, &[row("follower", "", "verdicts", 1)], &[]).complete);
    }

    #[test]
    fn many_kinds_are_bounded_and_silence_is_no_completeness() {
        let rows: Vec<LossRow> =
            (1..=20).map(|n| row(&format!("stage-{n}"), "allow", "verdicts", n)).collect();
        let silent = Unreachable { relay: "http://r".into(), rows: true, error: "x".repeat(1_000) };
        let told = Completeness::of(TimeRange::ALL, &rows, &[silent]);
        assert_eq!((told.losses.len(), told.more_losses, told.losses[0].count), (16, 4, 20));
        assert_eq!(told.missing.allow, 210);
        assert!(told.to_ascii().len() < 4_000);
        assert!(!Completeness::unknown(TimeRange::ALL, "broken").complete);
    }
}
