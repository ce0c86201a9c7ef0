//! Changes that make a rule's ports cover the attempt.

use serde_json::{Value, json};

use super::{Part, Place, below};
use crate::explain::service;
use crate::explain::yaml::{Edit, Step, port_entry, way};
use crate::model::{Pod, Port, PortRule, Protocol, Rule};

/// How far a range is stretched before a port of its own is better.
const MAX_STRETCH: u16 = 100;

/// The ways to make the rule at a field cover the attempt's port.
pub(super) fn parts(place: Place<'_>, rule: &Rule, field: &[Step]) -> Vec<Part> {
    let list = below(field, way!["ports"]);
    let number = place.attempt.destination_port;
    let Some(protocol) = protocol(place.attempt.protocol) else {
        return vec![Part {
            cost: 7,
            edits: vec![Edit::Remove { at: list }],
            text: "leave out ports, because only then a rule covers protocols without ports".into(),
            adds: true,
        }];
    };
    let set = |index: usize, key: &str, value: Value| Edit::Set {
        at: below(&list, way![index, key]),
        value,
    };
    let mut parts = Vec::new();
    for (index, entry) in rule.ports.iter().enumerate() {
        let part = |cost, edit, text: String| Part { cost, edits: vec![edit], text, adds: false };
        match &entry.port {
            Port::Range(first, last) if entry.protocol == protocol => {
                if first == last && is_service_port(place, entry, *first) {
                    let text = format!(
                        "change port {first}, the Service's, to {number}, which the pod listens on"
                    );
                    parts.push(part(1, set(index, "port", json!(number)), text));
                }
                if first != last && number > *last && number - last <= MAX_STRETCH {
                    let text = format!("raise endPort from {last} to {number}");
                    parts.push(part(1, set(index, "endPort", json!(number)), text));
                }
                if first != last && number < *first && first - number <= MAX_STRETCH {
                    let text = format!("lower port from {first} to {number}");
                    parts.push(part(1, set(index, "port", json!(number)), text));
                }
            }
            Port::Named(name) => {
                parts.extend(
                    named(place, protocol, entry, name)
                        .map(|(new, text)| part(2, set(index, "port", new), text)),
                );
                let other_protocol = entry.protocol != protocol;
                let destination = place.cluster.pod_at(place.attempt.destination);
                let fits = destination
                    .is_some_and(|pod| pod.named_ports(name, protocol).any(|port| port == number));
                if other_protocol && fits {
                    let text = format!("change protocol {} to {protocol}", entry.protocol);
                    parts.push(part(2, set(index, "protocol", json!(protocol.as_str())), text));
                }
            }
            _ => {}
        }
        let same_number = match &entry.port {
            Port::Range(first, last) => (*first..=*last).contains(&number),
            Port::All => true,
            Port::Named(_) => false,
        };
        if same_number && entry.protocol != protocol {
            parts.push(Part {
                cost: 2,
                edits: vec![insert(&list, protocol, number)],
                text: format!("add {protocol} {number} next to {} {number}", entry.protocol),
                adds: false,
            });
        }
    }
    parts.push(Part {
        cost: 3,
        edits: vec![insert(&list, protocol, number)],
        text: format!("add {protocol} {number} to ports"),
        adds: true,
    });
    parts
}

fn insert(list: &[Step], protocol: Protocol, number: u16) -> Edit {
    Edit::Insert { list: list.to_vec(), before: None, value: port_entry(protocol, number) }
}

/// What a name that does not stand for the attempt's port should be.
fn named(
    place: Place<'_>,
    protocol: Protocol,
    entry: &PortRule,
    name: &str,
) -> Option<(Value, String)> {
    let number = place.attempt.destination_port;
    let pod = place.cluster.pod_at(place.attempt.destination)?;
    // Where the name stands for something else, it may be meant.
    if entry.protocol != protocol || pod.named_ports(name, protocol).next().is_some() {
        return None;
    }
    let declared = pod.ports.iter().find(|port| port.port == number && port.protocol == protocol);
    Some(match declared.and_then(|port| port.name.clone()) {
        Some(right) => {
            let text = format!("change port name {name} to {right}, as the pod calls {number}");
            (json!(right), text)
        }
        None => {
            let text = format!("change port name {name}, which the pod lacks, to {number}");
            (json!(number), text)
        }
    })
}

/// The rule names a port by which a Service is dialled, and the attempt is to the port behind it;
/// no pod behind it listens on the Service's.
fn is_service_port(place: Place<'_>, entry: &PortRule, number: u16) -> bool {
    let Some(pod) = place.cluster.pod_at(place.attempt.destination) else { return false };
    let listens =
        |pod: &Pod| pod.ports.iter().any(|p| p.port == number && p.protocol == entry.protocol);
    let mut services = place.cluster.services.iter();
    services.any(|one| {
        service::selected(place.cluster, one).any(|backend| backend == pod)
            && one.ports.iter().any(|port| {
                port.port == number
                    && port.protocol == entry.protocol
                    && service::target(pod, port) == Some(place.attempt.destination_port)
            })
            && !service::selected(place.cluster, one).any(listens)
    })
}

/// The protocol, if policies can name it.
pub(in crate::explain) fn protocol(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.number() == number)
}
