//! Numbers that are looked up when somebody asks for metrics.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

type Look = Arc<dyn Fn() -> usize + Send + Sync>;

/// Named numbers.
#[derive(Default)]
pub(crate) struct Gauges(Vec<(&'static str, &'static str, Look)>);

impl Gauges {
    pub(crate) fn with(
        mut self,
        name: &'static str,
        help: &'static str,
        look: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Self {
        self.0.push((name, help, Arc::new(look)));
        self
    }

    pub(crate) fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, ..)| name)).finish()
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, look) in &self.0 {
            let gauge = ConstGauge::new(i64::try_from(look()).unwrap_or(i64::MAX));
            // The registry's own metrics end their help with a full stop too.
            let help = help.trim_end_matches('.');
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
