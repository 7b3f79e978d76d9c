//! The layout of kube-proxy 1.20: masquerade in KUBE-SERVICES itself, `KUBE-XLB-…` for what stays local, `KUBE-MARK-DROP` with the
//! kubelet's rule that drops what it marks.

use super::{Cluster, Derived, Endpoint, Tables, nat, push};
use kpclass_ruleset::value::{Family, Prefix};
use std::collections::BTreeMap;

type Table = BTreeMap<String, Vec<String>>;

/// All rules.
pub(super) fn tables(cluster: &Cluster) -> Tables {
    let mut tables = Tables::default();
    for port in &cluster.ports {
        let derived = Derived::new(port);
        if derived.has_endpoints {
            services(cluster, &derived, &mut tables.nat);
            node_port(cluster, &derived, &mut tables.nat);
            endpoints(cluster, &derived, &mut tables.nat);
        } else {
            refuse(cluster, &derived, &mut tables.filter);
        }
    }
    add_static(cluster, &mut tables);
    tables
}

/// The ways in from KUBE-SERVICES.
fn services(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let (port, chain) = (derived.port, derived.chain("SVC"));
    let mut add = |rule: String| push(table, "KUBE-SERVICES", rule);
    let to = derived.to(port.cluster_ip, "cluster IP", port.port);
    if let Some(pods) = cluster.pod_cidr {
        add(format!("! -s {pods} {to} -j KUBE-MARK-MASQ"));
    }
    add(format!("{to} -j {chain}"));
    for address in &port.external_ips {
        let to = derived.to(*address, "external IP", port.port);
        add(format!("{to} -j KUBE-MARK-MASQ"));
        add(format!("{to} -m addrtype ! --src-type LOCAL -j {chain}"));
        add(format!("{to} -m addrtype --dst-type LOCAL -j {chain}"));
    }
    for address in &port.load_balancer_ips {
        let to = derived.to(*address, "loadbalancer IP", port.port);
        add(format!("{to} -j {}", derived.chain("FW")));
    }
    if !port.load_balancer_ips.is_empty() {
        firewall(cluster, derived, table);
    }
}

/// Where traffic from outside goes on.
fn destination(derived: &Derived<'_>) -> String {
    derived.chain(if derived.port.external_local {
        "XLB"
    } else {
        "SVC"
    })
}

/// `KUBE-FW-…`: who may use the load balancer; the rest is marked to be dropped.
fn firewall(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let (chain, to) = (derived.chain("FW"), destination(derived));
    let comment = format!(
        "-m comment --comment \"{} loadbalancer IP\"",
        derived.port.name
    );
    let mut add = |rule: String| push(table, &chain, rule);
    if !derived.port.external_local {
        add(format!("{comment} -j KUBE-MARK-MASQ"));
    }
    let ranges = &derived.port.source_ranges;
    if ranges.is_empty() {
        add(format!("{comment} -j {to}"));
    }
    for range in ranges {
        add(format!("-s {range} {comment} -j {to}"));
    }
    if ranges.iter().any(|range| range.contains(cluster.node)) {
        for address in &derived.port.load_balancer_ips {
            add(format!("-s {} {comment} -j {to}", Prefix::host(*address)));
        }
    }
    add(format!("{comment} -j KUBE-MARK-DROP"));
}

fn node_port(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let Some(port) = derived.port.node_port else {
        return;
    };
    let loopback = match cluster.family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    };
    let at = derived.at_port("", "", port);
    let from = match derived.port.external_local {
        true => format!("-s {loopback} "),
        false => String::new(),
    };
    push(
        table,
        "KUBE-NODEPORTS",
        format!("{from}{at} -j KUBE-MARK-MASQ"),
    );
    push(
        table,
        "KUBE-NODEPORTS",
        format!("{at} -j {}", destination(derived)),
    );
}

/// `KUBE-SVC-…`, `KUBE-XLB-…`, and a chain for each endpoint.
fn endpoints(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let mut all: Vec<&Endpoint> = derived.port.endpoints.iter().collect();
    all.sort_by_cached_key(|endpoint| endpoint.text());
    nat::balancing(derived, &derived.chain("SVC"), &all, true, table);
    if derived.port.external_local && derived.external {
        let local: Vec<&Endpoint> = all.iter().copied().filter(|e| e.local).collect();
        keep_local(cluster, derived, &local, table);
    }
    for endpoint in all {
        nat::endpoint_chain(cluster, derived, endpoint, true, table);
    }
}

fn keep_local(cluster: &Cluster, derived: &Derived<'_>, local: &[&Endpoint], table: &mut Table) {
    let (chain, name) = (derived.chain("XLB"), &derived.port.name);
    let all = derived.chain("SVC");
    if let Some(pods) = cluster.pod_cidr {
        let comment = "Redirect pods trying to reach external loadbalancer VIP to clusterIP";
        push(
            table,
            &chain,
            format!("-s {pods} -m comment --comment \"{comment}\" -j {all}"),
        );
    }
    for (what, to) in [
        ("masquerade LOCAL traffic for", "KUBE-MARK-MASQ"),
        ("route LOCAL traffic for", all.as_str()),
    ] {
        let comment = format!("-m comment --comment \"{what} {name} LB IP\"");
        push(
            table,
            &chain,
            format!("{comment} -m addrtype --src-type LOCAL -j {to}"),
        );
    }
    if local.is_empty() {
        let comment = format!("-m comment --comment \"{name} has no local endpoints\"");
        push(table, &chain, format!("{comment} -j KUBE-MARK-DROP"));
    } else {
        nat::balancing(derived, &chain, local, true, table);
    }
}

/// A Service without endpoints.
fn refuse(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let port = derived.port;
    let verdict = match cluster.family {
        Family::V4 => "-j REJECT --reject-with icmp-port-unreachable",
        Family::V6 => "-j REJECT --reject-with icmp6-port-unreachable",
    };
    let comment = "has no endpoints";
    let rule = derived.to(port.cluster_ip, comment, port.port);
    push(table, "KUBE-SERVICES", format!("{rule} {verdict}"));
    for address in port.external_ips.iter().chain(&port.load_balancer_ips) {
        let rule = derived.to(*address, comment, port.port);
        push(table, "KUBE-EXTERNAL-SERVICES", format!("{rule} {verdict}"));
    }
    if let Some(node_port) = port.node_port {
        let rule = derived.at_port(comment, "-m addrtype --dst-type LOCAL ", node_port);
        push(table, "KUBE-EXTERNAL-SERVICES", format!("{rule} {verdict}"));
    }
}

const FILTER: [(&str, &str); 12] = [
    ("INPUT", "-j KUBE-FIREWALL"),
    (
        "INPUT",
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES",
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
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
    ),
    (
        "KUBE-FIREWALL",
        "-m comment --comment \"kubernetes firewall for dropping marked packets\" -m mark --mark 0x8000/0x8000 -j DROP",
    ),
    ("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP"),
    (
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT",
    ),
    (
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding conntrack pod source rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    (
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding conntrack pod destination rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
];

fn add_static(cluster: &Cluster, tables: &mut Tables) {
    for chain in [
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-SERVICES",
        "KUBE-PROXY-CANARY",
    ] {
        tables.filter.entry(chain.to_owned()).or_default();
    }
    for (chain, rule) in FILTER {
        push(&mut tables.filter, chain, rule.to_owned());
    }
    nat::add_static(cluster, &mut tables.nat);
    push(
        &mut tables.nat,
        "KUBE-MARK-DROP",
        "-j MARK --set-xmark 0x8000/0x8000".into(),
    );
}
