//! Plans as bytes: the library's form, and the engine's own operators by name.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use weir_query::remote::Operator;

use crate::one_part::OnePartExec;

/// What an operator of the engine begins with. No message of the library does: there is no field of
/// wire type 7.
const MARK: &[u8] = b"weir/";
/// The name of this crate's own operator.
const ONE_PART: &[u8] = b"one part";

/// The form of operators that the library of plans does not know.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    ballista: BallistaPhysicalExtensionCodec,
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(name) = buf.strip_prefix(MARK) else {
            return self.ballista.try_decode(buf, inputs, ctx, proto_converter);
        };
        if let (ONE_PART, [input]) = (name, inputs) {
            return Ok(Arc::new(OnePartExec::new(input.clone())));
        }
        let known = Operator::ALL.into_iter().find(|operator| operator.name().as_bytes() == name);
        match (known, inputs) {
            (Some(operator), [input]) => Ok(operator.over(input.clone())),
            (Some(operator), _) => internal_err!("{} has one input", operator.name()),
            (None, _) => internal_err!("an operator of another version of weir"),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let name = match Operator::of(node.as_ref()) {
            Some(operator) => operator.name().as_bytes(),
            None if node.is::<OnePartExec>() => ONE_PART,
            None => return self.ballista.try_encode(node, buf, proto_converter),
        };
        buf.extend_from_slice(MARK);
        buf.extend_from_slice(name);
        Ok(())
    }
}
