//! The nat table: from a Service's addresses to an endpoint, and whose source is rewritten.

use super::{Cluster, Derived, Endpoint, chains, push};
use kpclass_ruleset::value::{Family, Prefix};
use std::collections::BTreeMap;

type Table = BTreeMap<String, Vec<String>>;

/// One port's rules; `commented`: also in the chains of endpoints.
pub(super) fn add(cluster: &Cluster, derived: &Derived<'_>, commented: bool, table: &mut Table) {
    services(derived, table);
    if derived.has_internal {
        let mask = derived.to(derived.port.cluster_ip, "cluster IP", derived.port.port);
        if let Some(pods) = cluster.pod_cidr {
            push(
                table,
                &derived.internal_chain(),
                format!("! -s {pods} {mask} -j KUBE-MARK-MASQ"),
            );
        }
    }
    if derived.has_endpoints && derived.external {
        external(cluster, derived, table);
    }
    if derived.has_firewall() {
        firewall(cluster, derived, table);
    }
    for (kind, endpoints) in [
        ("SVC", &derived.cluster_endpoints),
        ("SVL", &derived.local_endpoints),
    ] {
        balancing(derived, &derived.chain(kind), endpoints, commented, table);
    }
    for endpoint in &derived.port.endpoints {
        if endpoint.local || !derived.cluster_endpoints.is_empty() {
            endpoint_chain(cluster, derived, endpoint, commented, table);
        }
    }
}

/// The ways in: KUBE-SERVICES and KUBE-NODEPORTS.
fn services(derived: &Derived<'_>, table: &mut Table) {
    let port = derived.port;
    if derived.has_internal {
        let rule = derived.to(port.cluster_ip, "cluster IP", port.port);
        push(
            table,
            "KUBE-SERVICES",
            format!("{rule} -j {}", derived.internal_chain()),
        );
    }
    if !derived.has_endpoints {
        return;
    }
    for address in &port.external_ips {
        let rule = derived.to(*address, "external IP", port.port);
        push(
            table,
            "KUBE-SERVICES",
            format!("{rule} -j {}", derived.chain("EXT")),
        );
    }
    let target = derived.chain(if derived.has_firewall() { "FW" } else { "EXT" });
    for address in &port.load_balancer_ips {
        let rule = derived.to(*address, "loadbalancer IP", port.port);
        push(table, "KUBE-SERVICES", format!("{rule} -j {target}"));
    }
    if let Some(node_port) = port.node_port {
        let rule = derived.at_port("", "", node_port);
        push(
            table,
            "KUBE-NODEPORTS",
            format!("{rule} -j {}", derived.chain("EXT")),
        );
    }
}

/// `KUBE-EXT-…`: traffic from outside.
fn external(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let (chain, name) = (derived.chain("EXT"), &derived.port.name);
    let comment =
        |what: &str| format!("-m comment --comment \"{what} for {name} external destinations\"");
    if derived.port.external_local {
        let all = derived.chain("SVC");
        if let Some(pods) = cluster.pod_cidr {
            push(
                table,
                &chain,
                format!("-s {pods} {} -j {all}", comment("pod traffic")),
            );
        }
        let local = "-m addrtype --src-type LOCAL -j";
        push(
            table,
            &chain,
            format!(
                "{} {local} KUBE-MARK-MASQ",
                comment("masquerade LOCAL traffic")
            ),
        );
        push(
            table,
            &chain,
            format!("{} {local} {all}", comment("route LOCAL traffic")),
        );
    } else {
        push(
            table,
            &chain,
            format!("{} -j KUBE-MARK-MASQ", comment("masquerade traffic")),
        );
    }
    if derived.has_external {
        let kind = if derived.port.external_local {
            "SVL"
        } else {
            "SVC"
        };
        push(table, &chain, format!("-j {}", derived.chain(kind)));
    }
}

/// `KUBE-FW-…`: who may use the load balancer.
fn firewall(cluster: &Cluster, derived: &Derived<'_>, table: &mut Table) {
    let (chain, name) = (derived.chain("FW"), &derived.port.name);
    // iptables-save leaves out what matches every address.
    let allow = |from: &Prefix| {
        let source = if from.is_any() {
            String::new()
        } else {
            format!("-s {from} ")
        };
        format!(
            "{source}-m comment --comment \"{name} loadbalancer IP\" -j {}",
            derived.chain("EXT")
        )
    };
    let ranges = &derived.port.source_ranges;
    ranges
        .iter()
        .for_each(|range| push(table, &chain, allow(range)));
    // What the node sends to the load balancer may carry that very address as its source.
    if ranges.iter().any(|range| range.contains(cluster.node)) {
        let own = &derived.port.load_balancer_ips;
        own.iter()
            .for_each(|address| push(table, &chain, allow(&Prefix::host(*address))));
    }
    let rest = format!(
        "-m comment --comment \"other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL\""
    );
    push(table, &chain, rest);
}

/// Chooses among endpoints: first the one that a client is bound to, then each with the same chance.
pub(super) fn balancing(
    derived: &Derived<'_>,
    chain: &str,
    endpoints: &[&Endpoint],
    commented: bool,
    table: &mut Table,
) {
    let name = &derived.port.name;
    let comment = |endpoint: &Endpoint| match commented {
        true => format!("-m comment --comment \"{name} -> {}\" ", endpoint.text()),
        false => String::new(),
    };
    if let Some(seconds) = derived.port.affinity_seconds {
        for endpoint in endpoints {
            let sep = endpoint_name(derived, endpoint);
            let mask = mask(endpoint);
            let recent = format!(
                "-m recent --rcheck --seconds {seconds} --reap --name {sep} --mask {mask} --rsource"
            );
            push(
                table,
                chain,
                format!("{}{recent} -j {sep}", comment(endpoint)),
            );
        }
    }
    for (endpoint, left) in endpoints.iter().zip((1..=endpoints.len()).rev()) {
        let chance = match left {
            1 => String::new(),
            _ => format!(
                "-m statistic --mode random --probability {} ",
                probability(left)
            ),
        };
        let sep = endpoint_name(derived, endpoint);
        push(
            table,
            chain,
            format!("{}{chance}-j {sep}", comment(endpoint)),
        );
    }
}

/// 1 of `n` as kube-proxy writes it (ten digits), the kernel keeps it (31 bits) and iptables-save prints it (eleven digits).
fn probability(n: usize) -> String {
    let written = (1e10 / n as f64).round() / 1e10;
    let kept = (written * f64::from(1u32 << 31)).round();
    format!("{:.11}", kept / f64::from(1u32 << 31))
}

pub(super) fn endpoint_name(derived: &Derived<'_>, endpoint: &Endpoint) -> String {
    let hash = chains::hash(&[&derived.port.name, derived.port.protocol, &endpoint.text()]);
    format!("KUBE-SEP-{hash}")
}

/// `KUBE-SEP-…`: an endpoint that reaches itself is masqueraded; everyone is sent there.
pub(super) fn endpoint_chain(
    cluster: &Cluster,
    derived: &Derived<'_>,
    endpoint: &Endpoint,
    commented: bool,
    table: &mut Table,
) {
    let chain = endpoint_name(derived, endpoint);
    let (name, protocol) = (&derived.port.name, derived.port.protocol);
    let comment = match commented {
        true => format!("-m comment --comment \"{name}\" "),
        false => String::new(),
    };
    debug_assert_eq!(Family::of(endpoint.address), cluster.family);
    let own = Prefix::host(endpoint.address);
    push(
        table,
        &chain,
        format!("-s {own} {comment}-j KUBE-MARK-MASQ"),
    );
    let recent = match derived.port.affinity_seconds {
        Some(_) => format!(
            "-m recent --set --name {chain} --mask {} --rsource ",
            mask(endpoint)
        ),
        None => String::new(),
    };
    let to = endpoint.text();
    push(
        table,
        &chain,
        format!("-p {protocol} {comment}{recent}-m {protocol} -j DNAT --to-destination {to}"),
    );
}

fn mask(endpoint: &Endpoint) -> String {
    Prefix::host(endpoint.address).mask().to_string()
}

/// The rules that are always there.
pub(super) fn add_static(cluster: &Cluster, table: &mut Table) {
    for chain in ["KUBE-NODEPORTS", "KUBE-PROXY-CANARY"] {
        table.entry(chain.to_owned()).or_default();
    }
    let portals = "-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES";
    let not_loopback = if cluster.family == Family::V6 {
        "! -d ::1/128 "
    } else {
        ""
    };
    let node_ports = format!(
        "{not_loopback}-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" \
         -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    );
    for (chain, rule) in [
        ("PREROUTING", portals),
        ("OUTPUT", portals),
        (
            "POSTROUTING",
            "-m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING",
        ),
        ("KUBE-MARK-MASQ", "-j MARK --set-xmark 0x4000/0x4000"),
        (
            "KUBE-POSTROUTING",
            "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        ),
        ("KUBE-POSTROUTING", "-j MARK --set-xmark 0x4000/0x0"),
        (
            "KUBE-POSTROUTING",
            "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully",
        ),
        ("KUBE-SERVICES", &node_ports),
    ] {
        push(table, chain, rule.to_owned());
    }
}
