//! `label(labels, 'key')` and `policy_field(policies, 'name')`: parts of columns that have parts.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::scalar::{constant, invalid, map_first};

/// The text fields of a policy.
pub(crate) const POLICY_FIELDS: [&str; 3] = ["kind", "namespace", "name"];

/// A label's value; null where there is none.
pub(crate) fn label() -> ScalarUDF {
    ScalarUDF::new_from_impl(Label { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Label {
    signature: Signature,
}

impl ScalarUDFImpl for Label {
    fn name(&self) -> &'static str {
        "label"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wanted = constant(self.name(), &args, 1)?;
        map_first(&args, |array| {
            let Some(map) = array.as_map_opt() else {
                return Err(invalid(
                    "the first argument of label() is a map: write label(source_labels, 'app')",
                ));
            };
            let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
            let offsets = map.value_offsets();
            let value = |row: usize| {
                let [from, to] = [offsets[row], offsets[row + 1]].map(usize::try_from);
                let mut entries = from.ok()?..to.ok()?;
                let entry = entries.find(|entry| keys.value(*entry) == wanted)?;
                (map.is_valid(row) && values.is_valid(entry)).then(|| values.value(entry))
            };
            let labels: StringArray = (0..map.len()).map(value).collect();
            Ok(Arc::new(labels) as ArrayRef)
        })
    }
}

/// One field of each policy that has it, as a list.
pub(crate) fn policy_field() -> ScalarUDF {
    ScalarUDF::new_from_impl(PolicyField { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PolicyField {
    signature: Signature,
}

impl ScalarUDFImpl for PolicyField {
    fn name(&self) -> &'static str {
        "policy_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wanted = constant(self.name(), &args, 1)?;
        if !POLICY_FIELDS.contains(&wanted) {
            let known = POLICY_FIELDS.join(", ");
            return Err(invalid(format!("policies have no {wanted:?}: they have {known}")));
        }
        map_first(&args, |array| {
            let policies = array.as_list_opt::<i32>();
            let field = policies
                .and_then(|list| list.values().as_struct_opt())
                .and_then(|policies| policies.column_by_name(wanted)?.as_string_opt::<i32>());
            let (Some(policies), Some(field)) = (policies, field) else {
                return Err(invalid(
                    "the first argument of policy_field() is column `policies` of `flows`",
                ));
            };
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in 0..policies.len() {
                let [from, to] = [row, row + 1].map(|at| policies.value_offsets()[at]);
                let members = usize::try_from(from).unwrap_or_default()
                    ..usize::try_from(to).unwrap_or_default();
                for member in members.filter(|member| !field.value(*member).is_empty()) {
                    lists.values().append_value(field.value(member));
                }
                lists.append(true);
            }
            Ok(Arc::new(lists.finish()) as ArrayRef)
        })
    }
}
