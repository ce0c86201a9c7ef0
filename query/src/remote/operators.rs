//! The engine's own operators, by names that other processes understand.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use crate::catalog::BarrierExec;
use crate::engine::MorselExec;

/// An operator that is not the library's. Each has one input and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Lets rows through and no condition.
    Barrier,
    /// Hands on few rows at a time.
    Morsel,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Barrier, Self::Morsel];

    /// Which one a plan begins with, if it is one.
    pub fn of(plan: &dyn ExecutionPlan) -> Option<Self> {
        if plan.is::<BarrierExec>() {
            Some(Self::Barrier)
        } else if plan.is::<MorselExec>() {
            Some(Self::Morsel)
        } else {
            None
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::Morsel => "morsel",
        }
    }

    /// The operator over an input.
    pub fn over(self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match self {
            Self::Barrier => Arc::new(BarrierExec::new(input)),
            Self::Morsel => Arc::new(MorselExec::new(input)),
        }
    }
}
