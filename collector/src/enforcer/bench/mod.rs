//! What it takes until a change of the cluster is in the kernel's maps.

mod cluster;
mod unattached;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_policy::Cluster;
use weir_policy::compile::Compiler;
use weir_policy::model::{Port, PortRule, Protocol};

use self::unattached::{Interfaces, Unattached};
use super::{EnforceError, Enforcer, Options};
use crate::kernel::Datapath;

/// Changes of each kind; the median counts.
const CHANGES: u32 = 11;

/// The figures.
#[derive(Debug)]
pub struct Report {
    pods: usize,
    local_pods: usize,
    policies: usize,
    namespaces: usize,
    times: Vec<Row>,
    /// Map, entries, bytes of the kernel's memory.
    maps: Vec<(&'static str, usize, u64)>,
}

/// A kind of change, how long it takes to compile, and until the maps hold it.
#[derive(Debug)]
struct Row {
    change: &'static str,
    compile: Duration,
    in_force: Duration,
}

/// Measures with the kernel's maps, and without packets. Needs root.
///
/// # Errors
/// Missing privileges, or a kernel without BPF.
pub fn run() -> Result<Report, EnforceError> {
    let options = Options { node: cluster::NODE.into(), ..Options::default() };
    let mut cluster = Arc::new(cluster::cluster());
    let local = |cluster: &Cluster| -> Vec<usize> {
        let pods = cluster.pods.iter().enumerate();
        pods.filter(|(_, pod)| pod.node.as_deref() == Some(cluster::NODE))
            .map(|(index, _)| index)
            .collect()
    };
    let mut interfaces = HashMap::new();
    for (interface, index) in (1..).zip(local(&cluster)) {
        interfaces.insert(cluster.pods[index].addresses[0], interface);
    }
    let kernel = Unattached(Datapath::load(&options.datapath)?);
    let mut enforcer = Enforcer::with(options, kernel, Interfaces(interfaces));
    let mut compiler = Compiler::new();
    let mut step = |cluster: &Arc<Cluster>| -> Result<(Duration, Duration), EnforceError> {
        let begin = Instant::now();
        let compiled = compiler.compile(cluster, Some(cluster::NODE));
        let compile = begin.elapsed();
        drop(compiled);
        let begin = Instant::now();
        enforcer.apply_shared(cluster)?;
        Ok((compile, begin.elapsed()))
    };

    let (compile, in_force) = step(&cluster)?;
    let mut times = vec![Row { change: "everything", compile, in_force }];
    let pods = cluster.pods.len() as u32;
    times.push(median("one pod more of a kind that is there", |round| {
        let mut pod = cluster::pod(17 + round * 40);
        pod.name.push_str("-more");
        pod.addresses = vec![cluster::address(pods + round)];
        Arc::make_mut(&mut cluster).pods.push(pod);
        step(&cluster)
    })?);
    times.push(median("one pod gets labels that rules ask about", |round| {
        let index = (round * 40 + 18) as usize;
        Arc::make_mut(&mut cluster).pods[index].labels.insert("app".into(), "api".into());
        step(&cluster)
    })?);
    times.push(median("one rule of a policy of local pods", |round| {
        let pod = local(&cluster)[round as usize * 10];
        let namespace = cluster.pods[pod].namespace.clone();
        let policies = &mut Arc::make_mut(&mut cluster).policies;
        if let Some(policy) = policies.iter_mut().find(|policy| policy.namespace == namespace) {
            let port = PortRule { protocol: Protocol::Tcp, port: Port::Range(7000, 7000) };
            policy.ingress[1].ports.push(port);
        }
        step(&cluster)
    })?);

    let entries = enforcer.map_entries();
    let sizes = enforcer.kernel().0.map_sizes()?;
    let maps = entries.map(|(map, entries)| {
        let size = sizes.iter().find(|size| size.map == map);
        (map, entries, size.map_or(0, |size| size.memory_bytes))
    });
    Ok(Report {
        pods: cluster.pods.len(),
        local_pods: local(&cluster).len(),
        policies: cluster.policies.len(),
        namespaces: cluster.namespaces.len(),
        times,
        maps: maps.into(),
    })
}

fn median(
    change: &'static str,
    mut step: impl FnMut(u32) -> Result<(Duration, Duration), EnforceError>,
) -> Result<Row, EnforceError> {
    let mut all = (0..CHANGES).map(&mut step).collect::<Result<Vec<_>, _>>()?;
    let middle = all.len() / 2;
    let compile = all.select_nth_unstable_by_key(middle, |times| times.0).1.0;
    let in_force = all.select_nth_unstable_by_key(middle, |times| times.1).1.1;
    Ok(Row { change, compile, in_force })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, local_pods, policies, namespaces, .. } = self;
        writeln!(
            f,
            "{pods} pods, {local_pods} of them local, {policies} NetworkPolicies, {namespaces} \
             namespaces.\n"
        )?;
        writeln!(f, "| change | compiled, ms | in the kernel's maps, ms |\n|---|--:|--:|")?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        for Row { change, compile, in_force } in &self.times {
            writeln!(f, "| {change} | {:.1} | {:.1} |", ms(*compile), ms(*in_force))?;
        }
        writeln!(f, "\n| map | entries | MiB |\n|---|--:|--:|")?;
        for (map, entries, bytes) in &self.maps {
            writeln!(f, "| `{map}` | {entries} | {:.1} |", *bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}
