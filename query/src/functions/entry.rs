//! `insert_id(columns…)`: what the Cloud Logging API calls a row.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, PrimitiveArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt64Type,
};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col,
};
use weir_flow::policy_action::Identity;
use weir_flow::schema::TimestampNs;

use super::scalar::invalid;

/// The identifier of a row, from the columns in the order of [`Identity::COLUMNS`].
pub(crate) fn insert_id() -> ScalarUDF {
    let signature = Signature::any(Identity::COLUMNS.len(), Volatility::Immutable);
    ScalarUDF::new_from_impl(InsertId { signature })
}

/// The identifier of a row of `flows`.
pub(crate) fn of_row() -> Expr {
    insert_id().call(Identity::COLUMNS.map(col).to_vec())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InsertId {
    signature: Signature,
}

impl ScalarUDFImpl for InsertId {
    fn name(&self) -> &'static str {
        "insert_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let column = |name: &str| -> Result<&ArrayRef> {
            let at = Identity::COLUMNS.iter().position(|column| *column == name);
            at.and_then(|at| columns.get(at)).ok_or_else(|| invalid("a column is missing"))
        };
        let text = |name: &str| -> Result<StringArray> {
            Ok(cast(column(name)?, &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let time = |name: &str| -> Result<PrimitiveArray<TimestampNanosecondType>> {
            numbers::<TimestampNanosecondType>(column(name)?)
        };
        let (cluster, node) = (text("cluster")?, text("node")?);
        let (direction, verdict, reason) = (text("direction")?, text("verdict")?, text("reason")?);
        let (protocol, state) = (text("protocol")?, text("state")?);
        let (source_ip, destination_ip) = (text("source_ip")?, text("destination_ip")?);
        let (begin, end) = (time("time")?, time("end_time")?);
        let source_port = numbers::<UInt16Type>(column("source_port")?)?;
        let destination_port = numbers::<UInt16Type>(column("destination_port")?)?;
        let icmp_type = numbers::<UInt8Type>(column("icmp_type")?)?;
        let icmp_code = numbers::<UInt8Type>(column("icmp_code")?)?;
        let policy_revision = numbers::<UInt64Type>(column("policy_revision")?)?;
        let (count, packets) =
            (numbers::<UInt64Type>(column("count")?)?, numbers::<UInt64Type>(column("packets")?)?);
        let bytes = numbers::<UInt64Type>(column("bytes")?)?;
        let reply_packets = numbers::<UInt64Type>(column("reply_packets")?)?;
        let id = |row: usize| {
            let identity = Identity {
                time: TimestampNs(begin.value(row)),
                end_time: TimestampNs(end.value(row)),
                cluster: cluster.value(row),
                node: node.value(row),
                direction: direction.value(row),
                verdict: verdict.value(row),
                reason: reason.value(row),
                protocol: protocol.value(row),
                source_ip: source_ip.value(row),
                source_port: value(&source_port, row),
                destination_ip: destination_ip.value(row),
                destination_port: value(&destination_port, row),
                icmp_type: value(&icmp_type, row),
                icmp_code: value(&icmp_code, row),
                state: state.value(row),
                policy_revision: policy_revision.value(row),
                count: count.value(row),
                packets: packets.value(row),
                bytes: bytes.value(row),
                reply_packets: reply_packets.value(row),
            };
            Some(identity.insert_id())
        };
        let ids: StringArray = (0..cluster.len()).map(id).collect();
        Ok(ColumnarValue::Array(Arc::new(ids) as ArrayRef))
    }
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<PrimitiveArray<T>> {
    match array.as_primitive_opt::<T>() {
        Some(numbers) => Ok(numbers.clone()),
        None => Ok(cast(array, &T::DATA_TYPE)?.as_primitive::<T>().clone()),
    }
}

fn value<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    array.is_valid(row).then(|| array.value(row))
}
