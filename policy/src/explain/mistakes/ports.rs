//! Mistakes about ports: the peer is right.

use super::{Place, RuleAt, mistake};
use crate::explain::answer::{Mistake, protocol_text};
use crate::explain::change::protocol;
use crate::explain::ends::pod_name;
use crate::explain::sentences::port_text;
use crate::explain::service;
use crate::model::{Port, PortRule};

/// All of them.
pub(super) fn find(place: Place<'_>) -> Vec<Mistake> {
    let rules = place.rules();
    let near = rules.iter().filter(|rule| rule.trace.peer_matched && !rule.trace.port_matched);
    let mut found = Vec::new();
    for rule in near {
        for entry in &rule.rule.ports {
            found.extend(
                service_port(place, rule, entry)
                    .or_else(|| protocol_mixed(place, rule, entry))
                    .or_else(|| port_name(place, rule, entry))
                    .or_else(|| end_port(place, rule, entry)),
            );
        }
    }
    found
}

fn service_port(place: Place<'_>, rule: &RuleAt<'_>, entry: &PortRule) -> Option<Mistake> {
    let pod = place.cluster.pod_at(place.attempt.destination)?;
    let Port::Range(first, last) = entry.port else { return None };
    let number = place.attempt.destination_port;
    let (service, port) = place.cluster.services.iter().find_map(|one| {
        service::selected(place.cluster, one).find(|backend| *backend == pod)?;
        let port = one.ports.iter().find(|port| {
            port.port != number
                && (first..=last).contains(&port.port)
                && port.protocol == entry.protocol
                && service::target(pod, port) == Some(number)
        })?;
        Some((one, port))
    })?;
    Some(mistake(
        "service_port",
        format!(
            "{} names port {}, which is the Service's: {}/{} sends {} on to port {number} of its \
             pods, and policies see only that",
            capital(&rule.name()),
            port.port,
            service.namespace,
            service.name,
            port.port
        ),
        format!("name port {number}, which the container listens on"),
    ))
}

fn protocol_mixed(place: Place<'_>, rule: &RuleAt<'_>, entry: &PortRule) -> Option<Mistake> {
    let asked = protocol(place.attempt.protocol)?;
    let number = place.attempt.destination_port;
    let same = match &entry.port {
        Port::All => true,
        Port::Range(first, last) => (*first..=*last).contains(&number),
        Port::Named(name) => {
            let pod = place.cluster.pod_at(place.attempt.destination)?;
            pod.ports.iter().any(|port| port.name.as_ref() == Some(name) && port.port == number)
        }
    };
    if !same || entry.protocol == asked {
        return None;
    }
    let name = capital(&rule.name());
    let what = match &entry.port {
        Port::All => format!("all ports of {}", entry.protocol),
        Port::Range(..) => format!("port {number} of {}", entry.protocol),
        Port::Named(port) => format!("port {port} of {}", entry.protocol),
    };
    let default = match entry.protocol {
        crate::model::Protocol::Tcp => "; a port without protocol is TCP",
        _ => "",
    };
    Some(mistake(
        "protocol_mixed",
        format!("{name} names {what}, and the attempt is {asked} {number}{default}"),
        format!("add an entry with protocol {asked}"),
    ))
}

fn port_name(place: Place<'_>, rule: &RuleAt<'_>, entry: &PortRule) -> Option<Mistake> {
    let Port::Named(name) = &entry.port else { return None };
    let number = place.attempt.destination_port;
    let rule_name = capital(&rule.name());
    let Some(pod) = place.cluster.pod_at(place.attempt.destination) else {
        return Some(mistake(
            "port_name_missing",
            format!(
                "{rule_name} names port {name}, and names stand for ports of pods only: {} is none",
                place.attempt.destination
            ),
            format!("write {number} instead of {name}"),
        ));
    };
    let numbers: Vec<String> =
        pod.named_ports(name, entry.protocol).map(|number| number.to_string()).collect();
    let says = if numbers.is_empty() {
        format!("{} declares no {} port of that name", pod_name(pod), entry.protocol)
    } else {
        format!(
            "on {} that name stands for {} {}, in whichever container it is declared",
            pod_name(pod),
            entry.protocol,
            numbers.join(" and ")
        )
    };
    Some(mistake(
        "port_name_missing",
        format!("{rule_name} names port {name}, and {says}"),
        format!("declare {name} for {number} in the pod, or write {number} in the policy"),
    ))
}

fn end_port(place: Place<'_>, rule: &RuleAt<'_>, entry: &PortRule) -> Option<Mistake> {
    let Port::Range(first, last) = entry.port else { return None };
    if first == last
        || entry.protocol.number() != place.attempt.protocol
        || place.attempt.destination_port < last
    {
        return None;
    }
    Some(mistake(
        "end_port_below",
        format!(
            "{} covers {} {first} to {last}, endPort included, and the attempt is {}",
            capital(&rule.name()),
            protocol_text(place.attempt.protocol),
            port_text(place.attempt)
        ),
        format!("raise endPort to {}", place.attempt.destination_port),
    ))
}

/// The text with its first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
