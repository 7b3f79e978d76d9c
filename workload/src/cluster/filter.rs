//! The filter table: what is refused, and the fixed chains.

use super::{Cluster, Derived, push};
use kpclass_ruleset::value::Family;
use std::collections::BTreeMap;

type Table = BTreeMap<String, Vec<String>>;

/// One port's rules.
pub(super) fn add(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let port = derived.port;
    let (comment, verdict) = refusal(cluster, derived.has_endpoints);
    if !derived.has_internal {
        let rule = derived.to(port.cluster_ip, comment, port.port);
        push(table, "KUBE-SERVICES", format!("{rule} {verdict}"));
    }
    if !derived.has_external {
        for address in port.external_ips.iter().chain(&port.load_balancer_ips) {
            let rule = derived.to(*address, comment, port.port);
            push(table, "KUBE-EXTERNAL-SERVICES", format!("{rule} {verdict}"));
        }
        if let Some(node_port) = port.node_port {
            let rule = derived.at_port(comment, "-m addrtype --dst-type LOCAL ", node_port);
            push(table, "KUBE-EXTERNAL-SERVICES", format!("{rule} {verdict}"));
        }
    }
    if derived.has_firewall() {
        for address in &port.load_balancer_ips {
            let comment = format!("traffic not accepted by {}", derived.chain("FW"));
            let rule = derived.to(*address, &comment, port.port);
            push(table, "KUBE-PROXY-FIREWALL", format!("{rule} -j DROP"));
        }
    }
    if let Some(check) = port.health_check_port {
        let name = &port.name;
        let rule = format!(
            "-p tcp -m comment --comment \"{name} health check node port\" -m tcp --dport {check} -j ACCEPT"
        );
        push(table, "KUBE-NODEPORTS", rule);
    }
}

fn refusal(cluster: &Cluster, has_endpoints: bool) -> (&'static str, &'static str) {
    match (has_endpoints, cluster.family) {
        (true, _) => ("has no local endpoints", "-j DROP"),
        (false, Family::V4) => (
            "has no endpoints",
            "-j REJECT --reject-with icmp-port-unreachable",
        ),
        (false, Family::V6) => (
            "has no endpoints",
            "-j REJECT --reject-with icmp6-port-unreachable",
        ),
    }
}

const STATIC: [(&str, &str); 15] = [
    ("INPUT", "-j KUBE-FIREWALL"),
    (
        "INPUT",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL",
    ),
    (
        "INPUT",
        "-m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS",
    ),
    (
        "INPUT",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES",
    ),
    (
        "FORWARD",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL",
    ),
    (
        "FORWARD",
        "-m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD",
    ),
    (
        "FORWARD",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
    ),
    (
        "FORWARD",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES",
    ),
    ("OUTPUT", "-j KUBE-FIREWALL"),
    (
        "OUTPUT",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL",
    ),
    (
        "OUTPUT",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
    ),
    ("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP"),
    (
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT",
    ),
    (
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    (
        "KUBE-FIREWALL",
        "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate \
         RELATED,ESTABLISHED,DNAT -j DROP",
    ),
];

/// The rules that are always there.
pub(super) fn add_static(cluster: &Cluster, table: &mut Table) {
    for chain in [
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FIREWALL",
        "KUBE-FORWARD",
        "KUBE-NODEPORTS",
        "KUBE-PROXY-CANARY",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SERVICES",
    ] {
        table.entry(chain.to_owned()).or_default();
    }
    for (chain, rule) in STATIC {
        if chain != "KUBE-FIREWALL" || cluster.family == Family::V4 {
            push(table, chain, rule.to_owned());
        }
    }
}
