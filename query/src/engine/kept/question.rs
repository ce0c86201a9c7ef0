//! What a partial aggregate, or a search for the first rows by some order, asks of a file, so that the same
//! question is known again: by what is computed, whatever columns are called.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSource as _, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{AggregateUDF, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr,
    IsNullExpr, LikeExpr, Literal, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction, split_conjunction};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use crate::catalog::barrier;
use crate::engine::words::EncodeExec;

/// Aggregates whose partial state is the same whatever the order of rows.
const ORDERLESS: [&str; 5] = ["count", "sum", "min", "max", "avg"];

/// What is computed of each row and then of all, from that down to the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    steps: Vec<Step>,
    /// Of what comes out.
    types: Vec<DataType>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Group(Expression),
    Aggregate(Aggregate),
    /// How rows are ordered, and how many of the first are wanted.
    First(Vec<(Expression, SortOptions)>, usize),
    Project(Vec<Expression>),
    /// Columns whose words get numbers, and which numbers.
    Encode(Vec<usize>, u64),
    /// Conditions, and which columns go on.
    Filter(Vec<Expression>, Option<Vec<usize>>),
    /// Columns and conditions of the file itself.
    Scan(Vec<Expression>, Vec<Expression>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Aggregate {
    function: AggregateUDF,
    arguments: Vec<Expression>,
    distinct: bool,
    ignore_nulls: bool,
    filter: Option<Expression>,
}

#[derive(Clone, Debug)]
struct Expression(Arc<dyn PhysicalExpr>);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq(&other.0)
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Whether a plan makes of each row of its one input one row or none, by itself.
pub(super) fn is_by_row(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let filter = plan.downcast_ref::<FilterExec>();
    filter.map_or_else(
        || {
            plan.is::<ProjectionExec>()
                || plan.is::<CooperativeExec>()
                || plan.is::<EncodeExec>()
                || barrier::is(plan)
        },
        |filter| filter.fetch().is_none(),
    )
}

/// An aggregate, or a search for the first rows, straight over files.
pub(super) struct Asked<'a> {
    of_all: OfAll<'a>,
    /// The plans below it, down to the scan.
    between: Vec<&'a Arc<dyn ExecutionPlan>>,
    pub(super) config: &'a FileScanConfig,
    source: &'a ParquetSource,
    /// Those of the scan that are known from the begin. Others come from elsewhere in the plan while
    /// it runs, to spare work: without them the answer of a file is that of the file alone.
    conditions: Vec<Arc<dyn PhysicalExpr>>,
}

/// What is made of all rows together.
#[derive(Clone, Copy)]
enum OfAll<'a> {
    Aggregate(&'a AggregateExec),
    First(&'a SortExec, usize),
}

impl<'a> OfAll<'a> {
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(sort) = plan.downcast_ref::<SortExec>() {
            return Some(Self::First(sort, sort.fetch()?));
        }
        let aggregate = plan.downcast_ref::<AggregateExec>()?;
        aggregate.limit_options().is_none().then_some(Self::Aggregate(aggregate))
    }

    fn input(self) -> &'a Arc<dyn ExecutionPlan> {
        match self {
            Self::Aggregate(aggregate) => aggregate.input(),
            Self::First(sort, _) => sort.input(),
        }
    }

    fn schema(self) -> SchemaRef {
        match self {
            Self::Aggregate(aggregate) => aggregate.schema(),
            Self::First(sort, _) => sort.schema(),
        }
    }

    fn over(self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        match self {
            Self::Aggregate(aggregate) => {
                over(&(Arc::new(aggregate.clone()) as Arc<dyn ExecutionPlan>), input)
            }
            // Made anew: what one knows of its first rows must not leave out any of another's.
            Self::First(sort, rows) => {
                Ok(Arc::new(SortExec::new(sort.expr().clone(), input).with_fetch(Some(rows))))
            }
        }
    }
}

impl<'a> Asked<'a> {
    /// `None` if it is anything else.
    pub(super) fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let of_all = OfAll::of(plan)?;
        let mut between = Vec::new();
        let mut below = of_all.input();
        while is_by_row(below) {
            between.push(below);
            below = below.children().first().copied()?;
        }
        let scan = below.downcast_ref::<DataSourceExec>()?;
        let (config, source) = scan.downcast_to_file_source::<ParquetSource>()?;
        let filter = source.filter();
        let conditions = filter.iter().flat_map(split_conjunction).cloned();
        let conditions = conditions.filter(|condition| !is_dynamic(condition)).collect();
        let asked = Self { of_all, between, config, source, conditions };
        config.limit.is_none().then_some(asked)
    }

    /// What is asked of one file; `None` if the answer depends on more than the file.
    pub(super) fn question(&self, file: &PartitionedFile) -> Option<Question> {
        let mut steps = Vec::new();
        match self.of_all {
            OfAll::Aggregate(aggregate) => group(aggregate, &mut steps)?,
            OfAll::First(sort, rows) => {
                let order = sort.expr().iter();
                let order = order.map(|by| Some((known(&by.expr)?, by.options)));
                steps.push(Step::First(order.collect::<Option<_>>()?, rows));
            }
        }
        for plan in &self.between {
            if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
                let columns = project.expr().iter().map(|column| known(&column.expr));
                steps.push(Step::Project(columns.collect::<Option<_>>()?));
            } else if let Some(encode) = plan.downcast_ref::<EncodeExec>() {
                let (columns, id) = encode.numbered();
                steps.push(Step::Encode(columns.to_vec(), id));
            } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
                let conditions = split_conjunction(filter.predicate()).into_iter();
                let conditions = conditions.filter(|condition| {
                    !(self.is_over_scan(plan)
                        && holds(condition, &|column| self.read(column), file))
                });
                let projection = filter.projection().as_ref().map(|columns| columns.to_vec());
                steps.push(Step::Filter(conditions.map(known).collect::<Option<_>>()?, projection));
            }
        }
        let columns = self.columns().map(|column| known(&column.expr)).collect::<Option<_>>()?;
        let conditions = self.conditions.iter();
        let conditions =
            conditions.filter(|condition| !holds(condition, &|column| self.of_table(column), file));
        let conditions = conditions.map(known).collect::<Option<_>>()?;
        steps.push(Step::Scan(columns, conditions));
        let schema = self.of_all.schema();
        let types = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Some(Question { steps, types })
    }

    /// What the scan hands on.
    fn columns(&self) -> impl Iterator<Item = &ProjectionExpr> {
        self.source.projection().into_iter().flat_map(ProjectionExprs::iter)
    }

    /// Whether the conditions of a filter are about what the scan hands on.
    fn is_over_scan(&self, filter: &Arc<dyn ExecutionPlan>) -> bool {
        let below = self.between.iter().skip_while(|plan| !Arc::ptr_eq(plan, filter)).skip(1);
        below.into_iter().all(|plan| plan.is::<CooperativeExec>())
    }

    /// The place in the table of a column that the scan hands on, if that is a column.
    fn read(&self, column: &Column) -> Option<usize> {
        let read = self.columns().nth(column.index())?;
        self.of_table(read.expr.downcast_ref::<Column>()?)
    }

    /// The place of a column of the table.
    fn of_table(&self, column: &Column) -> Option<usize> {
        let place = self.config.file_schema().index_of(column.name()).ok()?;
        (place == column.index()).then_some(place)
    }

    /// The first and the last time of a file's rows, in nanoseconds, if they are known.
    pub(super) fn times(&self, file: &PartitionedFile) -> Option<(i64, i64)> {
        bounds(file, self.config.file_schema().index_of("time").ok()?)
    }

    /// The same of one file alone.
    pub(super) fn of_file(&self, file: PartitionedFile) -> Result<Arc<dyn ExecutionPlan>> {
        let mut config = FileScanConfigBuilder::from(self.config.clone())
            .with_file_groups(vec![vec![file].into()]);
        if self.source.filter().is_some() {
            let conditions = conjunction(self.conditions.iter().cloned());
            config = config.with_source(Arc::new(self.source.with_predicate(conditions)));
        }
        let mut plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config.build());
        for above in self.between.iter().rev() {
            plan = over(above, plan)?;
        }
        self.of_all.over(plan)
    }
}

fn group(aggregate: &AggregateExec, steps: &mut Vec<Step>) -> Option<()> {
    let group = aggregate.group_expr();
    if !group.is_single() || !group.null_expr().is_empty() {
        return None;
    }
    for (expression, _) in group.expr() {
        steps.push(Step::Group(known(expression)?));
    }
    let aggregates = aggregate.aggr_expr().iter().zip(aggregate.filter_expr());
    for (aggregate, filter) in aggregates {
        let function = aggregate.fun();
        if !ORDERLESS.contains(&function.name()) || !aggregate.order_bys().is_empty() {
            return None;
        }
        let arguments = aggregate.expressions();
        steps.push(Step::Aggregate(Aggregate {
            function: function.clone(),
            arguments: arguments.iter().map(known).collect::<Option<_>>()?,
            distinct: aggregate.is_distinct(),
            ignore_nulls: aggregate.ignore_nulls(),
            filter: match filter {
                Some(filter) => Some(known(filter)?),
                None => None,
            },
        }));
    }
    Some(())
}

/// Whether a condition changes while the plan runs.
pub(in crate::engine) fn is_dynamic(condition: &Arc<dyn PhysicalExpr>) -> bool {
    condition.is::<DynamicFilterPhysicalExpr>() || condition.children().into_iter().any(is_dynamic)
}

/// A plan over another input of the same columns.
pub(in crate::engine) fn over(
    plan: &Arc<dyn ExecutionPlan>,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.clone().replace_children(vec![input], options)
}

/// The expression, if its value is a function of the row and it can be told from others.
fn known(expression: &Arc<dyn PhysicalExpr>) -> Option<Expression> {
    let plain = expression.is::<Column>()
        || expression.is::<Literal>()
        || expression.is::<BinaryExpr>()
        || expression.is::<CaseExpr>()
        || expression.is::<CastExpr>()
        || expression.is::<TryCastExpr>()
        || expression.is::<InListExpr>()
        || expression.is::<IsNullExpr>()
        || expression.is::<IsNotNullExpr>()
        || expression.is::<LikeExpr>()
        || expression.is::<NegativeExpr>()
        || expression.is::<NotExpr>()
        || expression.is::<ScalarFunctionExpr>();
    let children = || expression.children().into_iter().all(|child| known(child).is_some());
    (plain && !is_volatile(expression) && children()).then(|| Expression(expression.clone()))
}

/// Whether a condition of time holds for all rows of a file, by the file's bounds; `place` finds a
/// column in the table.
fn holds(
    condition: &Arc<dyn PhysicalExpr>,
    place: &dyn Fn(&Column) -> Option<usize>,
    file: &PartitionedFile,
) -> bool {
    let told = || -> Option<bool> {
        let comparison = condition.downcast_ref::<BinaryExpr>()?;
        let (column, operator, literal) = match comparison.left().downcast_ref::<Column>() {
            Some(column) => (column, *comparison.op(), comparison.right()),
            None => {
                let column = comparison.right().downcast_ref::<Column>()?;
                (column, comparison.op().swap()?, comparison.left())
            }
        };
        let asked_ns = nanoseconds(literal.downcast_ref::<Literal>()?.value())?;
        let (first_ns, last_ns) = bounds(file, place(column)?)?;
        Some(match operator {
            Operator::GtEq => first_ns >= asked_ns,
            Operator::Gt => first_ns > asked_ns,
            Operator::LtEq => last_ns <= asked_ns,
            Operator::Lt => last_ns < asked_ns,
            _ => false,
        })
    };
    told().unwrap_or(false)
}

/// The least and the greatest time of a file, in nanoseconds, by the column's place in the table.
fn bounds(file: &PartitionedFile, place: usize) -> Option<(i64, i64)> {
    let bounds = file.statistics.as_ref()?.column_statistics.get(place)?;
    let least = nanoseconds(bounds.min_value.get_value()?)?;
    Some((least, nanoseconds(bounds.max_value.get_value()?)?))
}

fn nanoseconds(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(nanoseconds, _) => *nanoseconds,
        _ => None,
    }
}
