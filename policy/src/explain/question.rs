//! What may be asked, and which attempts that comes down to.

use std::net::IpAddr;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::answer::Mistake;
use super::ends::{Holder, distance, holder};
use super::service;
use crate::evaluate::Attempt;
use crate::model::{Cluster, Pod, Protocol};

/// Most attempts that one question is taken apart into; a Service may have more pods behind it.
pub const MAX_ATTEMPTS: usize = 256;

/// May one end open a connection to the other?
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who begins: `namespace/pod` or an address.
    pub from: String,
    /// With whom: `namespace/pod`, an address or a Service, `namespace/name`. A pod comes before a
    /// Service of that name; `service/namespace/name` and `pod/namespace/name` are exact.
    pub to: String,
    /// The port that the source dials.
    pub port: u16,
    /// Its protocol, in capitals or not.
    #[serde(default = "tcp", deserialize_with = "protocol")]
    pub protocol: Protocol,
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    let word = String::deserialize(deserializer)?;
    Protocol::from_word(&word.to_ascii_uppercase())
        .ok_or_else(|| D::Error::custom(format!("{word:?} is no protocol: write TCP, UDP or SCTP")))
}

/// A question that cannot be answered, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QuestionError(pub String);

/// The attempts behind a question.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// To be judged one by one.
    pub(super) list: Vec<Attempt>,
    /// What must be known about the question.
    pub(super) notes: Vec<String>,
    /// Mistakes in what is asked for.
    pub(super) mistakes: Vec<Mistake>,
    /// Both ends are one pod's own address.
    pub(super) is_to_itself: bool,
    /// The Service that is dialled.
    pub(super) service: Option<String>,
}

/// Finds both ends.
pub(super) fn attempts(cluster: &Cluster, question: &Question) -> Result<Attempts, QuestionError> {
    if question.port == 0 {
        return Err(QuestionError("port is 0: give a port from 1 to 65535".into()));
    }
    let mut found = Attempts::default();
    let sources = match end(cluster, &question.from, "from")? {
        End::Service(service) => {
            return Err(QuestionError(format!(
                "from is the Service {}/{}: Services only take connections, name a pod",
                service.namespace, service.name
            )));
        }
        End::Pod(pod) => addresses(cluster, pod, &mut found),
        End::Address(address) => vec![address],
    };
    let attempt = |source: IpAddr, destination: IpAddr, port: u16| Attempt {
        source,
        destination,
        protocol: question.protocol.number(),
        destination_port: port,
    };
    let pairs = |destinations: &[IpAddr], port: u16| -> Vec<Attempt> {
        let pair = |&destination: &IpAddr| {
            let same_family = |source: &&IpAddr| source.is_ipv4() == destination.is_ipv4();
            sources.iter().find(same_family).map(|&source| attempt(source, destination, port))
        };
        // One address of each family, as the pod's own interface has.
        [true, false]
            .into_iter()
            .filter_map(|v4| destinations.iter().find(|address| address.is_ipv4() == v4))
            .filter_map(pair)
            .collect()
    };
    let same_pod = |destination: &Pod| {
        sources
            .iter()
            .any(|source| destination.is_networked() && destination.addresses.contains(source))
    };
    let reachable = match end(cluster, &question.to, "to")? {
        End::Address(address) => {
            found.list = pairs(&[address], question.port);
            true
        }
        End::Pod(pod) => {
            let destinations = addresses(cluster, pod, &mut found);
            if same_pod(pod) {
                found.notes.push(format!(
                    "what {}/{} sends to its own address never leaves it, so no policy sees it",
                    pod.namespace, pod.name
                ));
                found.is_to_itself = true;
                return Ok(found);
            }
            found.list = pairs(&destinations, question.port);
            !destinations.is_empty()
        }
        End::Service(service) => {
            found.service = Some(format!("{}/{}", service.namespace, service.name));
            let backends = service::backends(cluster, service, question, &mut found.notes);
            for (pod, port) in &backends {
                found.list.extend(pairs(&pod.addresses, *port));
            }
            !backends.is_empty()
        }
    };
    if found.list.is_empty() && reachable && !sources.is_empty() {
        found.notes.push(format!(
            "{} and {} have no addresses of one family, so no packet can pass between them",
            question.from, question.to
        ));
    }
    if found.list.len() > MAX_ATTEMPTS {
        let left_out = found.list.len() - MAX_ATTEMPTS;
        found.list.truncate(MAX_ATTEMPTS);
        found.notes.push(format!("{left_out} more addresses behind it are not explained"));
    }
    Ok(found)
}

enum End<'a> {
    Pod(&'a Pod),
    Service(&'a crate::model::Service),
    Address(IpAddr),
}

fn end<'a>(cluster: &'a Cluster, text: &str, field: &str) -> Result<End<'a>, QuestionError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(match holder(cluster, address.to_canonical()) {
            Holder::Service(service) => End::Service(service),
            _ => End::Address(address.to_canonical()),
        });
    }
    let parts: Vec<&str> = text.split('/').collect();
    let (kind, namespace, name) = match parts[..] {
        [namespace, name] => ("", namespace, name),
        [kind, namespace, name] => (kind, namespace, name),
        _ => return Err(unknown_end(cluster, text, field)),
    };
    let pod = || cluster.pod(namespace, name).map(End::Pod);
    let service = || {
        let named = |service: &&crate::model::Service| {
            service.namespace == namespace && service.name == name
        };
        cluster.services.iter().find(named).map(End::Service)
    };
    let found = match kind {
        "" => pod().or_else(service),
        "pod" | "pods" => pod(),
        "service" | "services" | "svc" => service(),
        _ => None,
    };
    found.ok_or_else(|| unknown_end(cluster, text, field))
}

fn unknown_end(cluster: &Cluster, text: &str, field: &str) -> QuestionError {
    let text: String = text.chars().take(200).collect();
    if !text.contains('/') {
        return QuestionError(format!(
            "{field} is {text:?}, which is neither an address nor namespace/name: write, for \
             example, shop/{text}"
        ));
    }
    let pods = cluster.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name));
    let services =
        cluster.services.iter().map(|service| format!("{}/{}", service.namespace, service.name));
    let closest = pods.chain(services).min_by_key(|known| distance(known, &text));
    QuestionError(match closest {
        Some(closest) => {
            format!("{field}: there is no pod or Service {text}; the closest name is {closest}")
        }
        None => format!("{field}: there is no pod or Service {text}; no pods are known at all"),
    })
}

/// Where a pod can be reached; a note if nowhere.
fn addresses(cluster: &Cluster, pod: &Pod, found: &mut Attempts) -> Vec<IpAddr> {
    let name = format!("{}/{}", pod.namespace, pod.name);
    if pod.phase.is_terminal() {
        let taken = pod.addresses.iter().find_map(|&address| {
            Some((address, cluster.pod_at(address)?)).map(|(address, other)| {
                format!("; its address {address} now belongs to {}/{}", other.namespace, other.name)
            })
        });
        found.notes.push(format!(
            "{name} has ended ({:?}): it sends and receives nothing, and policies no longer count \
             it{}",
            pod.phase,
            taken.unwrap_or_default()
        ));
        found.mistakes.push(Mistake {
            id: "ended_pod",
            sentence: format!("{name} has ended"),
            fix: "ask about a pod that runs".into(),
        });
        return Vec::new();
    }
    if pod.addresses.is_empty() {
        found.mistakes.push(Mistake {
            id: "no_address",
            sentence: format!("{name} has no address yet"),
            fix: "wait until the pod has started, and see its events if it does not".into(),
        });
        found.notes.push(format!(
            "{name} has no address yet ({:?}): policies begin to count it, as subject and as peer, \
             when it has one",
            pod.phase
        ));
    }
    if pod.host_network {
        found.notes.push(format!(
            "{name} is on its node's network: no policy applies to it, and selectors never match \
             it; others see the node's address"
        ));
    }
    pod.addresses.clone()
}
