//! The tables of what was measured.

use std::fmt;

use super::answers::{Asked, Engine, median};
use super::spec::Query;

/// Milliseconds of each query in each engine.
pub(super) struct Queries<'a> {
    pub(super) queries: &'a [Query],
    pub(super) weir: &'a Engine,
    /// Warm, without aggregates that earlier queries left.
    pub(super) unkept: &'a [Asked],
    /// Warm, without roll-ups either.
    pub(super) plain: &'a [Asked],
    pub(super) others: &'a [Engine],
}

/// Dashboards and memory of each engine.
pub(super) struct Dashboards<'a> {
    pub(super) engines: Vec<&'a Engine>,
}

impl fmt::Display for Queries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns: Vec<(String, &[Asked])> = vec![
            ("Weir, warm".into(), &self.weir.warm),
            ("nothing kept".into(), self.unkept),
            ("nor rolled up".into(), self.plain),
        ];
        columns.extend(
            self.others.iter().map(|other| (format!("{}, warm", other.name), &other.warm[..])),
        );
        columns.push(("Weir, cold".into(), &self.weir.cold));
        columns.extend(
            self.others.iter().map(|other| (format!("{}, cold", other.name), &other.cold[..])),
        );
        write!(f, "| ms |")?;
        columns.iter().try_for_each(|(name, _)| write!(f, " {name} |"))?;
        writeln!(f, "\n|---|{}", "--:|".repeat(columns.len()))?;
        for (index, query) in self.queries.iter().enumerate() {
            write!(f, "| {}: {} |", query.name, query.title)?;
            for (_, asked) in &columns {
                write!(f, " {:.1} |", asked[index].median_ms())?;
            }
            writeln!(f)?;
        }
        write!(f, "| geometric mean |")?;
        for (_, asked) in &columns {
            write!(f, " {:.1} |", geometric_mean(asked))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Dashboards<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| | all there after, ms | a dashboard, median ms | slowest ms | peak memory, MiB |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|")?;
        for Engine { name, boards, .. } in &self.engines {
            let slowest = boards.ms.iter().copied().fold(0.0, f64::max);
            writeln!(
                f,
                "| {name} | {:.0} | {:.0} | {slowest:.0} | {:.0} |",
                boards.wall_ms,
                median(&boards.ms),
                boards.peak_bytes as f64 / 1_048_576.0,
            )?;
        }
        Ok(())
    }
}

fn geometric_mean(asked: &[Asked]) -> f64 {
    let logarithms: f64 = asked.iter().map(|asked| asked.median_ms().ln()).sum();
    (logarithms / asked.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_ratios() {
        let asked = |ms: f64| Asked { ms: vec![ms], rows: Vec::new() };
        assert!((geometric_mean(&[asked(1.0), asked(100.0)]) - 10.0).abs() < 1e-9);
    }
}
