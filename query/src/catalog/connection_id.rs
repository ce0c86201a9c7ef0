//! Column `connection_id`, computed from the stored ones when a query asks for it.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, PrimitiveArray, StringArray, StringDictionaryBuilder,
    UInt8Array, UInt16Array,
};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int32Type, UInt8Type, UInt16Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col,
};
use weir_flow::community_id::{Ports, community_id};
use weir_flow::schema::table_schema;
use weir_flow::values::protocol_number;

/// The columns it is computed from.
pub(super) const ARGUMENTS: [&str; 7] = [
    "protocol",
    "source_ip",
    "destination_ip",
    "source_port",
    "destination_port",
    "icmp_type",
    "icmp_code",
];

/// The expression behind the column.
pub(crate) fn expression() -> Expr {
    function().call(ARGUMENTS.iter().map(|name| col(*name)).collect()).alias("connection_id")
}

/// The function in it.
pub(crate) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(ConnectionId {
        signature: Signature::any(ARGUMENTS.len(), Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ConnectionId {
    signature: Signature,
}

impl ScalarUDFImpl for ConnectionId {
    fn name(&self) -> &'static str {
        "connection_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(table_schema().field_with_name("connection_id")?.data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let text = |index: usize| -> Result<StringArray> {
            Ok(cast(&columns[index], &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let port = |index: usize| -> Result<UInt16Array> {
            Ok(cast(&columns[index], &DataType::UInt16)?.as_primitive::<UInt16Type>().clone())
        };
        let icmp = |index: usize| -> Result<UInt8Array> {
            Ok(cast(&columns[index], &DataType::UInt8)?.as_primitive::<UInt8Type>().clone())
        };
        let (protocol, source, destination) = (text(0)?, text(1)?, text(2)?);
        let (source_port, destination_port) = (port(3)?, port(4)?);
        let (icmp_type, icmp_code) = (icmp(5)?, icmp(6)?);

        let mut ids = StringDictionaryBuilder::<Int32Type>::new();
        for row in 0..protocol.len() {
            let transport = value(&source_port, row).zip(value(&destination_port, row));
            let message = value(&icmp_type, row).zip(value(&icmp_code, row));
            let ports = match (transport, message) {
                (Some((source, destination)), _) => Ports::Transport(source, destination),
                (None, Some((kind, code))) => Ports::Icmp(kind, code),
                (None, None) => Ports::None,
            };
            let ends = address(&source, row).zip(address(&destination, row));
            let id = protocol_number(protocol.value(row))
                .zip(ends)
                .map(|(protocol, (from, to))| community_id(protocol, from, to, ports));
            ids.append_option(id);
        }
        let ids: ArrayRef = Arc::new(ids.finish());
        Ok(ColumnarValue::Array(ids))
    }
}

fn value<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    array.is_valid(row).then(|| array.value(row))
}

fn address(array: &StringArray, row: usize) -> Option<IpAddr> {
    array.is_valid(row).then(|| array.value(row))?.parse().ok()
}
