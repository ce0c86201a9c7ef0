//! Values that stand for `$1`, `$2` and so on: they become literals of the plan, never text of the SQL.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::QueryError;

/// Most parameters of one statement.
pub(crate) const MAX_PARAMETERS: usize = 1_000;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parameter {
    /// Of a type that the client says.
    Typed(ScalarValue),
    /// As text, of the type that its place in the statement asks for; `None` is NULL.
    Text(Option<String>),
}

impl Parameter {
    /// # Errors
    /// It is a list or an object.
    pub(crate) fn from_json(value: &serde_json::Value) -> Result<Self, QueryError> {
        use serde_json::Value;
        Ok(match value {
            Value::Null => Self::Text(None),
            Value::Bool(value) => Self::Typed(ScalarValue::Boolean(Some(*value))),
            Value::String(text) => Self::Text(Some(text.clone())),
            Value::Number(number) => Self::Typed(if let Some(value) = number.as_i64() {
                ScalarValue::Int64(Some(value))
            } else if let Some(value) = number.as_u64() {
                ScalarValue::UInt64(Some(value))
            } else {
                ScalarValue::Float64(number.as_f64())
            }),
            Value::Array(_) | Value::Object(_) => {
                return Err(QueryError::Invalid(
                    "a parameter is a text, a number, true, false or null".into(),
                ));
            }
        })
    }

    fn literal(&self, wanted: Option<&DataType>, number: usize) -> Result<ScalarValue, QueryError> {
        let text = match self {
            Self::Typed(value) => return Ok(value.clone()),
            Self::Text(Some(text)) if matches!(wanted, Some(DataType::List(_))) => {
                let items = list(text).ok_or_else(|| {
                    QueryError::Invalid(format!("parameter ${number} is no list like {{a,b}}"))
                })?;
                let items = Arc::new(items.into_iter().collect::<StringArray>());
                return Ok(SingleRowListArrayBuilder::new(items).build_list_scalar());
            }
            Self::Text(text) => ScalarValue::Utf8(text.clone()),
        };
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_null()) else { return Ok(text) };
        text.cast_to(wanted).map_err(|_| {
            QueryError::Invalid(format!(
                "parameter ${number} is {text}, which is no {}",
                crate::output::type_name(wanted)
            ))
        })
    }
}

/// The types of `$1`, `$2` and so on, as far as the plan says them.
pub(super) fn types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, QueryError> {
    let mut named = plan.get_parameter_types()?;
    for name in lists(plan)? {
        named.insert(name, Some(DataType::new_list(DataType::Utf8, true)));
    }
    let count = named
        .keys()
        .map(|name| number(name))
        .try_fold(0, |count, number| number.map(|number| count.max(number)))?;
    let mut types = vec![None; count];
    for (name, data_type) in named {
        types[number(&name)? - 1] = data_type;
    }
    Ok(types)
}

/// The parameters of `… = ANY($1)`, of which the planner says nothing.
fn lists(plan: &LogicalPlan) -> Result<Vec<String>, QueryError> {
    let mut names = Vec::new();
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.name() == "array_has"
                    && let Some(Expr::Placeholder(placeholder)) = call.args.first()
                {
                    names.push(placeholder.id.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(names)
}

/// Puts the values into the plan.
pub(super) fn bind(plan: LogicalPlan, given: &[Parameter]) -> Result<LogicalPlan, QueryError> {
    let types = types(&plan)?;
    if types.len() > given.len() {
        return Err(QueryError::Invalid(format!(
            "the statement has {} parameters, {} values came",
            types.len(),
            given.len()
        )));
    }
    if types.is_empty() {
        return Ok(plan);
    }
    let values = given
        .iter()
        .enumerate()
        .map(|(at, value)| value.literal(types.get(at).and_then(Option::as_ref), at + 1));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(plan.with_param_values(values)?)
}

/// Reads `{a,"b c",NULL}`, as clients of Postgres write lists.
pub(crate) fn list(text: &str) -> Option<Vec<Option<String>>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.chars().peekable();
    let mut items = Vec::new();
    while rest.peek().is_some() {
        let (mut item, mut quoted, mut inside) = (String::new(), false, false);
        loop {
            match rest.next() {
                None if inside => return None,
                None => break,
                Some('"') => (quoted, inside) = (true, !inside),
                Some('\\') => item.push(rest.next()?),
                Some(',') if !inside => break,
                Some(character) => item.push(character),
            }
        }
        let null = !quoted && item.eq_ignore_ascii_case("null");
        items.push((!null).then_some(item));
    }
    Some(items)
}

/// The number in `$7`.
fn number(name: &str) -> Result<usize, QueryError> {
    name.strip_prefix('$')
        .and_then(|digits| digits.parse().ok())
        .filter(|number| (1..=MAX_PARAMETERS).contains(number))
        .ok_or_else(|| {
            QueryError::Invalid(format!(
                "the parameter {name:?} cannot be read: parameters are $1 to ${MAX_PARAMETERS}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            list("{a,\"b, c\",NULL,\"null\"}"),
            Some(vec![some("a"), some("b, c"), None, some("null")])
        );
        assert_eq!(list("{}"), Some(vec![]));
        assert_eq!(list("{\"a"), None);
        assert_eq!(list("a"), None);
    }
}
