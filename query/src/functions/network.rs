//! `ip_in_net(address, '10.0.0.0/8')` and `host_of(names, address)`.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use ipnet::IpNet;

use super::scalar::{any_text, constant, invalid, map_first, truths};

/// Whether an address, or one of a list, is in a network. What is no address never is.
pub(crate) fn ip_in_net() -> ScalarUDF {
    ScalarUDF::new_from_impl(IpInNet { signature: Signature::any(2, Volatility::Immutable) })
}

/// A network or one address, or what is wrong with it.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(address).ok_or_else(|| {
        format!("{text:?} is no network: write it like \"10.1.2.0/24\" or \"2001:db8::/32\"")
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IpInNet {
    signature: Signature,
}

impl ScalarUDFImpl for IpInNet {
    fn name(&self) -> &'static str {
        "ip_in_net"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let network = network(constant(self.name(), &args, 1)?).map_err(invalid)?;
        let inside =
            |text: &str| text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address));
        map_first(&args, |array| any_text(array, &inside).map(truths))
    }
}

/// The first of an address's names, or the address where none is known.
pub(crate) fn host_of() -> ScalarUDF {
    ScalarUDF::new_from_impl(HostOf { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HostOf {
    signature: Signature,
}

impl ScalarUDFImpl for HostOf {
    fn name(&self) -> &'static str {
        "host_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [names, addresses] = columns.as_slice() else {
            return Err(invalid("host_of() takes names and an address"));
        };
        let Some(names) = names.as_list_opt::<i32>() else {
            return Err(invalid(
                "the first argument of host_of() is a list of names: write \
                 host_of(destination_names, destination_ip)",
            ));
        };
        let addresses = cast(addresses, &DataType::Utf8)?;
        let addresses = addresses.as_string::<i32>();
        let host = |row: usize| {
            let known = names.is_valid(row).then(|| names.value(row));
            let first = known.and_then(|names| {
                let names = names.as_string_opt::<i32>()?;
                (!names.is_empty() && names.is_valid(0)).then(|| names.value(0).to_owned())
            });
            first.or_else(|| addresses.is_valid(row).then(|| addresses.value(row).to_owned()))
        };
        let hosts: StringArray = (0..addresses.len()).map(host).collect();
        Ok(ColumnarValue::Array(Arc::new(hosts) as ArrayRef))
    }
}
