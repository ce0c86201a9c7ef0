//! Rows for benches that load them: the same at each call, of the last hour that is over.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use weir_flow::schema::{FIXUPS, SCHEMA_VERSION, conform, stored_schema};
use weir_flow::synthetic::{Synthetic, SyntheticOptions};

/// Rows of a batch, as collectors send them.
const BATCH_ROWS: usize = 4096;
const HOUR_NS: i64 = 3_600_000_000_000;

/// So many rows, so many a second in the flows' own time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generated {
    pub(super) rows: usize,
    pub(super) rate: usize,
    /// The time of the first.
    pub(super) start_ns: i64,
}

impl Generated {
    /// Flows of now, none of the future.
    pub(super) fn of_the_last_hour(rows: usize, rate: usize) -> anyhow::Result<Self> {
        Ok(Self { rows, rate, start_ns: last_hour_ns()? })
    }

    /// The time after the last.
    pub(super) fn end_ns(self) -> i64 {
        self.start_ns + (self.rows as i64).saturating_mul(1_000_000_000) / self.rate.max(1) as i64
    }

    pub(super) fn batches(self) -> impl Iterator<Item = RecordBatch> {
        let Self { rows, rate, start_ns } = self;
        let mut synthetic = Synthetic::new(&SyntheticOptions::default());
        let span_ns = (BATCH_ROWS * 1_000_000_000 / rate.max(1)) as i64;
        (0..rows.div_ceil(BATCH_ROWS)).map(move |index| {
            let rows = BATCH_ROWS.min(rows - index * BATCH_ROWS);
            synthetic.batch(rows, start_ns + index as i64 * span_ns, span_ns)
        })
    }
}

/// The begin of the last hour that is over.
pub(super) fn last_hour_ns() -> anyhow::Result<i64> {
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond())?;
    Ok(now - now.rem_euclid(HOUR_NS) - HOUR_NS)
}

/// Rows for others, as an Arrow IPC stream of the columns that files have.
pub(super) fn export(
    to: impl Write,
    batches: impl Iterator<Item = RecordBatch>,
) -> anyhow::Result<()> {
    let mut writer = StreamWriter::try_new(std::io::BufWriter::new(to), &stored_schema())?;
    for batch in batches {
        writer.write(&conform(&batch, &stored_schema(), SCHEMA_VERSION, FIXUPS)?)?;
    }
    writer.finish()?;
    Ok(())
}
