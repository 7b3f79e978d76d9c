//! The rules for the Services that a real kube-proxy was given are the ones that it wrote.

use super::{Cluster, Endpoint, ServicePort, write};
use kpclass_ruleset::value::{Family, Prefix};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

const NODE: &str = "kpnode-1";
const NODE_ADDRESS: &str = "10.10.2.58";

fn shared(path: &str) -> Option<String> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let root = std::env::var_os("KPCLASS_SHARED").map_or(own, PathBuf::from);
    let text = std::fs::read_to_string(root.join(path)).ok();
    if text.is_none() {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: shared/{path} is absent\n"),
        )
        .ok();
    }
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.trim().split_once('/').unwrap();
    Prefix::with_len(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn addresses(family: Family, values: &[Value]) -> Vec<IpAddr> {
    let parsed = values.iter().filter_map(|v| v.as_str()?.parse().ok());
    parsed.filter(|a| Family::of(*a) == family).collect()
}

/// The usable endpoints of a Service's port: the ready ones, else those that still serve while they end.
fn endpoints(
    family: Family,
    slices: &Value,
    namespace: &str,
    service: &str,
    port_name: &Value,
) -> Vec<Endpoint> {
    let (mut ready, mut ending) = (Vec::new(), Vec::new());
    for slice in list(&slices["items"]) {
        let meta = &slice["metadata"];
        let of = &meta["labels"]["kubernetes.io/service-name"];
        if meta["namespace"] != namespace || of != service {
            continue;
        }
        for port in list(&slice["ports"])
            .iter()
            .filter(|p| p["name"].as_str().unwrap_or("") == port_name.as_str().unwrap_or(""))
        {
            for endpoint in list(&slice["endpoints"]) {
                let host = endpoint["nodeName"]
                    .as_str()
                    .or(endpoint["topology"]["kubernetes.io/hostname"].as_str());
                for address in addresses(family, list(&endpoint["addresses"])) {
                    let port = port["port"].as_u64().unwrap() as u16;
                    let endpoint_read = Endpoint {
                        address,
                        port,
                        local: host == Some(NODE),
                    };
                    let conditions = &endpoint["conditions"];
                    if conditions["ready"] != false {
                        ready.push(endpoint_read);
                    } else if conditions["serving"] == true && conditions["terminating"] == true {
                        ending.push(endpoint_read);
                    }
                }
            }
        }
    }
    if ready.is_empty() { ending } else { ready }
}

fn cluster(family: Family, pods: Option<&str>, services: &Value, slices: &Value) -> Cluster {
    let mut ports = Vec::new();
    for item in list(&services["items"]) {
        let (meta, spec) = (&item["metadata"], &item["spec"]);
        let all = [
            list(&spec["clusterIPs"]),
            std::slice::from_ref(&spec["clusterIP"]),
        ]
        .concat();
        let Some(cluster_ip) = addresses(family, &all).first().copied() else {
            continue;
        };
        let (namespace, service) = (
            meta["namespace"].as_str().unwrap(),
            meta["name"].as_str().unwrap(),
        );
        for port in list(&spec["ports"]) {
            let suffix = port["name"]
                .as_str()
                .filter(|n| !n.is_empty())
                .map_or(String::new(), |n| format!(":{n}"));
            let protocol = match port["protocol"].as_str() {
                Some("UDP") => "udp",
                Some("SCTP") => "sctp",
                _ => "tcp",
            };
            let number = |value: &Value| value.as_u64().filter(|n| *n > 0).map(|n| n as u16);
            let ingress = list(&item["status"]["loadBalancer"]["ingress"]);
            let vips: Vec<Value> = ingress
                .iter()
                .filter(|i| i["ipMode"] != "Proxy")
                .map(|i| i["ip"].clone())
                .collect();
            let ranges = list(&spec["loadBalancerSourceRanges"])
                .iter()
                .map(|r| prefix(r.as_str().unwrap()));
            let affinity = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
            ports.push(ServicePort {
                node_port: number(&port["nodePort"]),
                external_ips: addresses(family, list(&spec["externalIPs"])),
                load_balancer_ips: addresses(family, &vips),
                source_ranges: ranges.filter(|r| r.family() == family).collect(),
                internal_local: spec["internalTrafficPolicy"] == "Local",
                external_local: spec["externalTrafficPolicy"] == "Local",
                affinity_seconds: (spec["sessionAffinity"] == "ClientIP")
                    .then(|| affinity.as_u64().unwrap_or(10800) as u32),
                health_check_port: number(&spec["healthCheckNodePort"]),
                endpoints: endpoints(family, slices, namespace, service, &port["name"]),
                ..ServicePort::new(
                    format!("{namespace}/{service}{suffix}"),
                    protocol,
                    cluster_ip,
                    number(&port["port"]).unwrap(),
                )
            });
        }
    }
    Cluster {
        family,
        pod_cidr: pods.map(prefix),
        node: NODE_ADDRESS.parse().unwrap(),
        ports,
    }
}

/// The rules of each chain of each table; those of the chains that kube-proxy writes in no particular order sorted.
fn chains(text: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut chains: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            chains
                .entry((table.clone(), chain.split(' ').next().unwrap().to_owned()))
                .or_default();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = rule.split_once(' ').unwrap();
            chains
                .entry((table.clone(), chain.to_owned()))
                .or_default()
                .push(rule.to_owned());
        }
    }
    for ((_, chain), rules) in &mut chains {
        if chain == "KUBE-SERVICES"
            || chain.ends_with("NODEPORTS")
            || chain.contains("-EXTERNAL-")
            || chain == "KUBE-PROXY-FIREWALL"
        {
            rules.sort();
        }
    }
    chains
}

fn assert_like_kube_proxy(dump: &str, file: &str, family: Family, pods: Option<&str>) {
    let read = |file: &str| shared(&format!("dumps/kube-proxy/{dump}/{file}"));
    let (Some(real), Some(services), Some(slices)) = (
        read(file),
        read("services.json"),
        read("endpointslices.json"),
    ) else {
        return;
    };
    let services = serde_json::from_str(&services).unwrap();
    let cluster = cluster(
        family,
        pods,
        &services,
        &serde_json::from_str(&slices).unwrap(),
    );
    let mut ours = Vec::new();
    write(&cluster, &mut ours).unwrap();
    let (real, ours) = (chains(&real), chains(std::str::from_utf8(&ours).unwrap()));
    for (chain, rules) in &real {
        assert_eq!(Some(rules), ours.get(chain), "{dump}: {chain:?}");
    }
    let more: Vec<_> = ours
        .keys()
        .filter(|chain| !real.contains_key(*chain))
        .collect();
    assert!(more.is_empty(), "{dump}: {more:?}");
}

#[test]
fn the_zoo_is_written_as_kube_proxy_wrote_it() {
    assert_like_kube_proxy(
        "b-zoo/v1.30-legacy",
        "iptables-save.txt",
        Family::V4,
        Some("10.1.0.0/16"),
    );
}

#[test]
fn the_small_cluster_is_written_as_kube_proxy_wrote_it() {
    assert_like_kube_proxy(
        "a-microk8s/v1.30-legacy",
        "iptables-save.txt",
        Family::V4,
        Some("10.1.0.0/16"),
    );
}

#[test]
fn both_families_are_written_as_kube_proxy_wrote_them() {
    assert_like_kube_proxy(
        "b-dualstack/v1.30-legacy",
        "iptables-save.txt",
        Family::V4,
        Some("10.1.0.0/16"),
    );
    assert_like_kube_proxy(
        "b-dualstack/v1.30-legacy",
        "ip6-iptables-save.txt",
        Family::V6,
        Some("fd01::/64"),
    );
}
