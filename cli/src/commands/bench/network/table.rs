//! The medians of all rounds, as a table.

use std::fmt;

use super::Setup;
use super::bed::Figures;

/// One of a setup's figures.
type Figure = fn(&Figures) -> f64;

/// By round and setup.
pub(super) struct Table<'a>(pub(super) &'a [[Figures; 4]]);

impl Table<'_> {
    fn median(&self, setup: usize, of: Figure) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(|round| of(&round[setup])).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The median of what each round's was of the same round's with nothing in the way.
    fn ratio(&self, setup: usize, of: Figure) -> f64 {
        let mut ratios: Vec<f64> =
            self.0.iter().map(|round| of(&round[setup]) / of(&round[0])).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| in the way | established UDP, packets/s | of nothing | TCP, Gbit/s | of nothing \
             | new UDP flows/s | of nothing | denied packets/s |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for (index, setup) in Setup::ALL.into_iter().enumerate() {
            write!(f, "| {} ", setup.name())?;
            let columns: [(Figure, usize); 3] = [
                (|figures| figures.established, 0),
                (|figures| figures.bulk, 2),
                (|figures| figures.new, 0),
            ];
            for (of, digits) in columns {
                let (median, ratio) = (self.median(index, of), self.ratio(index, of));
                write!(f, "| {median:.digits$} | {ratio:.2} ")?;
            }
            if setup.denies() {
                writeln!(f, "| {:.0} |", self.median(index, |figures| figures.denied))?;
            } else {
                writeln!(f, "| |")?;
            }
        }
        Ok(())
    }
}
