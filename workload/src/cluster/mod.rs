//! What kube-proxy writes for a cluster, in the words of iptables-save: version 1.30, and the layout of 1.20.
//!
//! ```text
//! Cluster ─ nat, filter ─► Tables (rules by chain) ─ text ─► iptables-save text
//! ```

mod chains;
mod filter;
mod nat;
mod old;
pub mod plan;
#[cfg(test)]
mod tests;
mod text;
pub mod traffic;

use kpclass_ruleset::value::{Family, Prefix};
use std::collections::BTreeMap;
use std::net::IpAddr;
pub use text::{Written, write, write_old};

/// A cluster, as one node sees it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The family of all its addresses.
    pub family: Family,
    /// The pods' addresses, by which local traffic is told; `None`: it is not told.
    pub pod_cidr: Option<Prefix>,
    /// The node's own address.
    pub node: IpAddr,
    /// Its Services' ports.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// `namespace/name:port`.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The cluster IP.
    pub cluster_ip: IpAddr,
    /// The port there, and at external and load balancers' addresses.
    pub port: u16,
    /// The port of the node.
    pub node_port: Option<u16>,
    /// `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// The load balancer's addresses.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer; empty: everyone.
    pub source_ranges: Vec<Prefix>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// Session affinity, in seconds.
    pub affinity_seconds: Option<u32>,
    /// The port for a load balancer's health checks.
    pub health_check_port: Option<u16>,
    /// Those that can be used.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it runs on this node.
    pub local: bool,
}

impl Endpoint {
    /// `10.1.0.2:80`, `[fd01::2]:80`.
    fn text(&self) -> String {
        std::net::SocketAddr::new(self.address, self.port).to_string()
    }
}

impl ServicePort {
    /// A port that is reached by its cluster IP alone.
    pub fn new(
        name: impl Into<String>,
        protocol: &'static str,
        cluster_ip: IpAddr,
        port: u16,
    ) -> Self {
        Self {
            name: name.into(),
            protocol,
            cluster_ip,
            port,
            node_port: None,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            internal_local: false,
            external_local: false,
            affinity_seconds: None,
            health_check_port: None,
            endpoints: Vec::new(),
        }
    }
}

/// The rules, without the `-A CHAIN ` in front.
#[derive(Debug, Default)]
struct Tables {
    filter: BTreeMap<String, Vec<String>>,
    nat: BTreeMap<String, Vec<String>>,
}

/// Appends a rule to a chain, which is added if new.
fn push(table: &mut BTreeMap<String, Vec<String>>, chain: &str, rule: String) {
    match table.get_mut(chain) {
        Some(rules) => rules.push(rule),
        None => {
            table.insert(chain.to_owned(), vec![rule]);
        }
    }
}

/// What kube-proxy derives of a port before it writes rules.
struct Derived<'c> {
    port: &'c ServicePort,
    /// Whether traffic from outside can reach it.
    external: bool,
    cluster_endpoints: Vec<&'c Endpoint>,
    local_endpoints: Vec<&'c Endpoint>,
    has_endpoints: bool,
    has_internal: bool,
    has_external: bool,
    hash: String,
}

impl<'c> Derived<'c> {
    fn new(port: &'c ServicePort) -> Self {
        let external = port.node_port.is_some()
            || !port.load_balancer_ips.is_empty()
            || !port.external_ips.is_empty();
        let uses_cluster = !port.internal_local || external;
        let uses_local = port.internal_local || (port.external_local && external);
        let mut sorted: Vec<&Endpoint> = port.endpoints.iter().collect();
        // kube-proxy sorts them as text.
        sorted.sort_by_cached_key(|endpoint| endpoint.text());
        let local: Vec<&Endpoint> = sorted
            .iter()
            .copied()
            .filter(|e| e.local && uses_local)
            .collect();
        let has_endpoints = !sorted.is_empty();
        Self {
            port,
            external,
            has_endpoints,
            has_internal: has_endpoints && !(port.internal_local && local.is_empty()),
            has_external: has_endpoints && !(port.external_local && local.is_empty()),
            cluster_endpoints: if uses_cluster { sorted } else { Vec::new() },
            local_endpoints: local,
            hash: chains::hash(&[&port.name, port.protocol]),
        }
    }

    fn chain(&self, kind: &str) -> String {
        format!("KUBE-{kind}-{}", self.hash)
    }

    /// The chain of traffic to the cluster IP.
    fn internal_chain(&self) -> String {
        self.chain(if self.port.internal_local {
            "SVL"
        } else {
            "SVC"
        })
    }

    /// Whether a chain decides by source who may use the load balancer.
    fn has_firewall(&self) -> bool {
        self.has_endpoints
            && !self.port.load_balancer_ips.is_empty()
            && !self.port.source_ranges.is_empty()
    }

    /// `-d 10.0.0.1/32 -p tcp -m comment --comment "…" -m tcp --dport 80`.
    fn to(&self, address: IpAddr, comment: &str, port: u16) -> String {
        format!(
            "-d {} {}",
            Prefix::host(address),
            self.at_port(comment, "", port)
        )
    }

    /// The same without an address, and `also` before the port.
    fn at_port(&self, comment: &str, also: &str, port: u16) -> String {
        let (name, protocol) = (&self.port.name, self.port.protocol);
        let blank = if comment.is_empty() { "" } else { " " };
        format!(
            "-p {protocol} -m comment --comment \"{name}{blank}{comment}\" {also}-m {protocol} --dport {port}"
        )
    }
}

impl Cluster {
    /// The rules of every port, beside those that are always there. Beyond 1,000 endpoints kube-proxy leaves comments out.
    fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        let endpoints: usize = self.ports.iter().map(|port| port.endpoints.len()).sum();
        let commented = endpoints <= 1000;
        for port in &self.ports {
            let derived = Derived::new(port);
            filter::add(self, &derived, &mut tables.filter);
            nat::add(self, &derived, commented, &mut tables.nat);
        }
        filter::add_static(self, &mut tables.filter);
        nat::add_static(self, &mut tables.nat);
        tables
    }
}
