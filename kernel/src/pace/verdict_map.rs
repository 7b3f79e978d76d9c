//! The Services of a dump as kube-proxy's nftables mode writes them: one map from address, protocol and port to a chain, which chooses an endpoint.

use kpclass_ruleset::Ruleset;
use kpclass_ruleset::services::{Endpoint, Key, Service, Services};
use kpclass_ruleset::value::{Family, protocol};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A nat chain that holds nothing.
pub(super) const WITHOUT: &str =
    "table inet kpclass_services { chain services { type nat hook prerouting priority -100; }; }\n";

/// `nft -f` text.
pub(super) fn write(ruleset: &Ruleset) -> String {
    let family = ruleset.family();
    let (table, address) = match family {
        Family::V4 => ("ip", "ipv4_addr"),
        Family::V6 => ("ip6", "ipv6_addr"),
    };
    let mut chains = String::new();
    let mut elements: Vec<String> = Vec::new();
    let mut taken = BTreeSet::new();
    for (number, service) in Services::new(ruleset).all().iter().enumerate() {
        let endpoints = endpoints(service);
        let keys = service.keys.iter().filter_map(element);
        let keys: Vec<String> = keys.filter(|key| taken.insert(key.clone())).collect();
        if keys.is_empty() || endpoints.is_empty() {
            continue;
        }
        elements.extend(keys.iter().map(|key| format!("{key} : goto svc_{number}")));
        let protocol = service
            .keys
            .first()
            .map_or(protocol::TCP, |key| key.protocol);
        chain(&mut chains, number, name(protocol), &endpoints);
    }
    let elements = match elements.is_empty() {
        true => String::new(),
        false => format!("elements = {{ {} }};", elements.join(", ")),
    };
    format!(
        "table {table} kpclass_services {{\n\
         map services {{ type {address} . inet_proto . inet_service : verdict; {elements} }}\n\
         {chains}\
         chain services {{ type nat hook prerouting priority -100; {table} daddr . meta l4proto . th dport vmap @services; }}\n}}\n"
    )
}

/// The chains of a Service: one that chooses, and one for each endpoint.
fn chain(text: &mut String, number: usize, protocol: &str, endpoints: &[Endpoint]) {
    let mut choices = Vec::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        writeln!(
            text,
            "chain ep_{number}_{at} {{ meta l4proto {protocol} dnat to {endpoint}; }}"
        )
        .ok();
        choices.push(format!("{at} : goto ep_{number}_{at}"));
    }
    let (count, choices) = (choices.len(), choices.join(", "));
    writeln!(
        text,
        "chain svc_{number} {{ numgen random mod {count} vmap {{ {choices} }}; }}"
    )
    .ok();
}

fn endpoints(service: &Service) -> Vec<Endpoint> {
    let chosen = service.balancings.first();
    let choices = chosen
        .into_iter()
        .flat_map(|balancing| &balancing.endpoints);
    choices.filter_map(|choice| choice.endpoint).collect()
}

/// A key of an address of its own, as an element of the map.
fn element(key: &Key) -> Option<String> {
    let (address, port) = (key.address?, key.port?);
    Some(format!("{address} . {} . {port}", name(key.protocol)))
}

/// As nft calls a protocol.
fn name(number: u8) -> &'static str {
    protocol::name(number).unwrap_or("tcp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpclass_ruleset::readers::{Input, read};

    #[test]
    fn each_service_has_an_element_and_a_chain() {
        const RULES: &str = include_str!("../../../pcaps/tutorial.rules");
        let rules = read(&[Input::new("tutorial", RULES)]).unwrap();
        let text = write(&rules.v4.unwrap());
        assert!(
            text.contains("10.152.183.221 . tcp . 3100 : goto svc_"),
            "{text}"
        );
        assert!(text.contains("dnat to 10.1.5.30:3100;"), "{text}");
        assert_eq!(text.matches("numgen random").count(), 5, "{text}");
    }
}
