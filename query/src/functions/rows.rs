//! `row_has('part', columns…)` and `row_search('words', columns…)`: searches over whole rows.

use arrow::array::{Array, ArrayRef, AsArray as _, BooleanArray};
use arrow::compute::kernels::boolean::{and, or};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::fold::{fold, has_token, tokens};
use super::scalar::{any_text, constant, invalid, truths};

/// Whether a column has the part, whatever the case.
pub(crate) fn row_has() -> ScalarUDF {
    function(Search::Part)
}

/// Whether columns have all the words, each any column.
pub(crate) fn row_search() -> ScalarUDF {
    function(Search::Words)
}

fn function(search: Search) -> ScalarUDF {
    let signature = Signature::variadic_any(Volatility::Immutable);
    ScalarUDF::new_from_impl(RowSearch { search, signature })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Search {
    Part,
    Words,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RowSearch {
    search: Search,
    signature: Signature,
}

impl ScalarUDFImpl for RowSearch {
    fn name(&self) -> &'static str {
        match self.search {
            Search::Part => "row_has",
            Search::Words => "row_search",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = constant(self.name(), &args, 0)?;
        let columns = args.args.get(1..).unwrap_or_default();
        let columns = columns.iter().map(|column| column.to_array(args.number_rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = match self.search {
            Search::Part => {
                let part = fold(text);
                anywhere(&columns, args.number_rows, &|text| fold(text).contains(part.as_ref()))?
            }
            Search::Words => {
                let tokens = tokens(text);
                if tokens.is_empty() {
                    return Err(invalid("a search needs a word"));
                }
                let mut rows = BooleanArray::from(vec![true; args.number_rows]);
                for token in &tokens {
                    let found =
                        anywhere(&columns, args.number_rows, &|text| has_token(text, token));
                    rows = and(&rows, &found?)?;
                }
                rows
            }
        };
        Ok(ColumnarValue::Array(truths(rows)))
    }
}

fn anywhere(
    columns: &[ArrayRef],
    rows: usize,
    passes: &dyn Fn(&str) -> bool,
) -> Result<BooleanArray> {
    let mut found = BooleanArray::from(vec![false; rows]);
    for column in columns {
        found = or(&found, &in_column(column, passes)?)?;
    }
    Ok(found)
}

fn in_column(column: &ArrayRef, passes: &dyn Fn(&str) -> bool) -> Result<BooleanArray> {
    let (offsets, members) = match column.data_type() {
        DataType::Map(..) => {
            let map = column.as_map();
            (map.value_offsets(), map.entries().columns().to_vec())
        }
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            let list = column.as_list::<i32>();
            (list.value_offsets(), list.values().as_struct().columns().to_vec())
        }
        _ => return any_text(column, passes),
    };
    let text = |member: &&ArrayRef| matches!(member.data_type(), DataType::Utf8);
    let count = members.first().map_or(0, Array::len);
    let mut found = BooleanArray::from(vec![false; count]);
    for member in members.iter().filter(text) {
        found = or(&found, &any_text(member, passes)?)?;
    }
    let any = |row: usize| {
        let [from, to] = [offsets[row], offsets[row + 1]].map(usize::try_from);
        let members = from.unwrap_or_default()..to.unwrap_or_default();
        column.is_valid(row) && members.into_iter().any(|member| found.value(member))
    };
    Ok((0..column.len()).map(any).collect::<Vec<bool>>().into())
}
