//! How far a follower has read, as text: `EPOCH:POSITION` for each relay, joined by commas.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most relays that a text may name, and most bytes it may have.
const MAX_RELAYS: usize = 64;
const MAX_BYTES: usize = 4_096;

/// The last position read of each relay's epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions(BTreeMap<u64, u64>);

impl Positions {
    /// The last position of an epoch.
    pub(super) fn of(&self, epoch: u64) -> Option<u64> {
        self.0.get(&epoch).copied()
    }

    /// Everything of an epoch up to a position has been read.
    pub(crate) fn read(&mut self, epoch: u64, position: u64) {
        let last = self.0.entry(epoch).or_default();
        *last = position.max(*last);
    }

    /// Everything that the other has read has been read.
    pub(super) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(epoch, position)| self.read(*epoch, *position));
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (epoch, position)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{epoch}:{position}")?;
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "it is no position: give the `id` of an event as it was, such as 17000:42".to_owned()
        };
        if text.len() > MAX_BYTES {
            return Err(wrong());
        }
        let parts = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (epoch, position) = part.split_once(':')?;
            Some((epoch.parse().ok()?, position.parse().ok()?))
        });
        let positions: BTreeMap<u64, u64> = parts.collect::<Option<_>>().ok_or_else(wrong)?;
        if positions.len() > MAX_RELAYS { Err(wrong()) } else { Ok(Self(positions)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_round_trip_as_text() {
        let mut positions = Positions::default();
        positions.read(7, 3);
        positions.read(5, 9);
        positions.read(7, 2);
        assert_eq!(positions.to_string(), "5:9,7:3");
        assert_eq!("5:9,7:3".parse::<Positions>().unwrap(), positions);
        assert_eq!("".parse::<Positions>().unwrap(), Positions::default());
        for wrong in ["5", "5:", "a:b", "5:9;7:3", "-1:2", &"1:1,".repeat(2_000)] {
            assert!(wrong.parse::<Positions>().is_err(), "{wrong}");
        }
    }
}
