//! Statements that a client has prepared, and portals: statements with their values, on their way.

use arrow::datatypes::SchemaRef;
use bytes::BytesMut;

use super::error::Failure;
use super::statement::Statement;
use super::types::Formats;
use super::values::Rows;
use crate::engine::{Answer, End, Next};
use crate::guard::parameters::Parameter;

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) statement: Statement,
    /// The types of its parameters, 0 where nobody has said them.
    pub(super) types: Vec<u32>,
}

/// A statement with its values.
pub(super) struct Portal {
    pub(super) statement: Statement,
    pub(super) parameters: Vec<Parameter>,
    pub(super) formats: Formats,
    pub(super) run: Option<Run>,
    /// Whether it stays after the transaction.
    pub(super) hold: bool,
}

/// A query on its way.
pub(super) struct Run {
    answer: Answer,
    sql: String,
    batch: Option<(Rows, usize, usize)>,
    end: Option<End>,
    pub(super) rows: usize,
}

/// What a step of a query did.
pub(super) enum Step {
    /// Rows were written.
    Rows,
    /// As many as were asked for are written.
    Enough,
    /// There are no more.
    End,
}

impl Run {
    pub(super) fn new(answer: Answer, sql: String) -> Self {
        Self { answer, sql, batch: None, end: None, rows: 0 }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.answer.schema()
    }

    /// Writes rows until the buffer has so many bytes or `left` is used up.
    pub(super) fn write(
        &mut self,
        left: &mut usize,
        out: &mut BytesMut,
        bytes: usize,
    ) -> Result<Option<Step>, Failure> {
        while let Some((rows, at, count)) = &mut self.batch {
            if *at == *count {
                self.batch = None;
                break;
            }
            if *left == 0 {
                return Ok(Some(Step::Enough));
            }
            if out.len() >= bytes {
                return Ok(Some(Step::Rows));
            }
            rows.write(*at, out)?;
            *at += 1;
            *left -= 1;
            self.rows += 1;
        }
        Ok(match (self.end, *left) {
            (Some(_), 1..) => Some(Step::End),
            (_, 0) => Some(Step::Enough),
            _ => None,
        })
    }

    /// Fetches what [`write`](Self::write) lacks.
    pub(super) async fn fetch(&mut self, formats: &Formats) -> Result<(), Failure> {
        match self.answer.next().await {
            Ok(Next::Batch(batch)) => {
                self.batch = Some((Rows::new(&batch, formats)?, 0, batch.num_rows()));
            }
            Ok(Next::End(end)) => self.end = Some(end),
            Err(error) => return Err(Failure::of(&error, &self.sql, 0)),
        }
        Ok(())
    }

    /// What the reader of the rows must know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.answer.warnings().to_vec();
        if self.end.is_some_and(|end| end.truncated) {
            warnings.push(format!(
                "only the first {} rows are here: ask for fewer, or raise the limit `max_rows` of the query service",
                self.answer.limit()
            ));
        }
        if self.answer.completeness().is_some_and(|told| !told.complete) {
            warnings.push(
                "flows of that time were lost: table `loss` says where, how many and why".into(),
            );
        }
        warnings
    }
}
