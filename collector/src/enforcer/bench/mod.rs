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

/// A kind of change and how long it takes.
#[derive(Debug)]
struct Row {
    change: &'static str,
    times: Times,
}

/// Each from the changed cluster on.
#[derive(Clone, Copy, Debug)]
struct Times {
    compile: Duration,
    /// Until every packet is judged by it.
    in_force: Duration,
    /// Until what nothing uses any more is removed.
    complete: Duration,
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
    let kernel = Unattached { maps: Datapath::load(&options.datapath)?, in_force: None };
    let mut enforcer = Enforcer::with(options, kernel, Interfaces(interfaces));
    let mut compiler = Compiler::new();
    let mut step = |cluster: &Arc<Cluster>| -> Result<Times, EnforceError> {
        let begin = Instant::now();
        let compiled = compiler.compile(cluster, Some(cluster::NODE));
        let compile = begin.elapsed();
        drop(compiled);
        let begin = Instant::now();
        enforcer.kernel().in_force = None;
        enforcer.apply_shared(cluster)?;
        let complete = begin.elapsed();
        let in_force = enforcer.kernel().in_force.map_or(complete, |at| at - begin);
        Ok(Times { compile, in_force, complete })
    };

    let mut times = vec![Row { change: "everything", times: step(&cluster)? }];
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
    let sizes = enforcer.kernel().maps.map_sizes()?;
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
    mut step: impl FnMut(u32) -> Result<Times, EnforceError>,
) -> Result<Row, EnforceError> {
    let all = (0..CHANGES).map(&mut step).collect::<Result<Vec<_>, _>>()?;
    let middle = |of: fn(&Times) -> Duration| {
        let mut each: Vec<Duration> = all.iter().map(of).collect();
        each.sort_unstable();
        each[each.len() / 2]
    };
    let times = Times {
        compile: middle(|times| times.compile),
        in_force: middle(|times| times.in_force),
        complete: middle(|times| times.complete),
    };
    Ok(Row { change, times })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, local_pods, policies, namespaces, .. } = self;
        writeln!(
            f,
            "{pods} pods, {local_pods} of them local, {policies} NetworkPolicies, {namespaces} \
             namespaces.\n"
        )?;
        writeln!(
            f,
            "| change | compiled, ms | in force, ms | old entries removed, ms |\n|---|--:|--:|--:|"
        )?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        for Row { change, times: Times { compile, in_force, complete } } in &self.times {
            let (compile, in_force, complete) = (ms(*compile), ms(*in_force), ms(*complete));
            writeln!(f, "| {change} | {compile:.1} | {in_force:.1} | {complete:.1} |")?;
        }
        writeln!(f, "\n| map | entries | MiB |\n|---|--:|--:|")?;
        for (map, entries, bytes) in &self.maps {
            writeln!(f, "| `{map}` | {entries} | {:.1} |", *bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}
