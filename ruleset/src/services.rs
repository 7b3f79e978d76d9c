//! The names behind kube-proxy's rules: which Service and endpoint a rule or chain belongs to, and what each Service is told to do.
//!
//! ```text
//! comments ─ comment ─► named rules ─ names ─► every KUBE-SVC/SVL/EXT/FW/XLB/SEP chain and its rules ─ keys, balancing ─► Services
//! ```
//!
//! Only comments that kube-proxy writes, around a `namespace/name[:port]` and in a `KUBE-*` chain, name anything. Where a chain's rules
//! carry no comments (kube-proxy leaves them out beyond 1,000 endpoints), its name comes from the chains that jump to it. Everything is
//! linear in the rules.

mod balancing;
mod comment;
mod keys;
mod names;
#[cfg(test)]
mod tests;

use crate::ids::{ChainId, RuleId};
use crate::ruleset::Ruleset;
use crate::value::{PortRange, Prefix, protocol};
use std::fmt;
use std::net::IpAddr;

/// A Service port, by its place among [`Services::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// The Services of a ruleset, and what belongs to which.
#[derive(Clone, Debug)]
pub struct Services {
    services: Vec<Service>,
    chains: Vec<Option<ServiceId>>,
    rules: Vec<Option<ServiceId>>,
    endpoints: Vec<Option<Endpoint>>,
}

/// One port of a Service. What its chains no longer tell (they were cut away, or the Service is stale: no chain that is walked leads
/// to them) is missing here.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// `namespace/name:port`, or `namespace/name` where the port has no name.
    pub name: String,
    /// How it is reached, in the order of kinds, then of addresses.
    pub keys: Vec<Key>,
    /// Session affinity by client address (`recent`), in seconds.
    pub affinity_seconds: Option<u32>,
    /// `loadBalancerSourceRanges`; empty: everyone.
    pub source_ranges: Vec<Prefix>,
    /// Whether traffic to the cluster IP stays on the node (`internalTrafficPolicy: Local`).
    pub internal_local: bool,
    /// Whether traffic from outside stays on the node (`externalTrafficPolicy: Local`).
    pub external_local: bool,
    /// The chains that choose an endpoint: for all of the cluster, for this node, or both.
    pub balancings: Vec<Balancing>,
}

impl Service {
    /// Whether no endpoint serves it at all.
    pub fn has_no_endpoints(&self) -> bool {
        self.keys
            .iter()
            .any(|key| key.refusal == Some(Refusal::NoEndpoints))
    }

    /// Whether some of its traffic needs an endpoint on this node, and there is none.
    pub fn has_no_local_endpoints(&self) -> bool {
        let refused = self
            .keys
            .iter()
            .any(|key| key.refusal == Some(Refusal::NoLocalEndpoints));
        refused
            || self
                .balancings
                .iter()
                .any(|b| b.local && b.endpoints.is_empty())
    }
}

/// One way to reach a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What kind of address it is.
    pub kind: KeyKind,
    /// The address; `None`: any of the node's.
    pub address: Option<IpAddr>,
    /// The port; `None` where the dump lost it.
    pub port: Option<u16>,
    /// Protocol number.
    pub protocol: u8,
    /// What packets meet instead of an endpoint.
    pub refusal: Option<Refusal>,
}

/// `tcp 10.152.183.1:443`, `udp *:30053` (a node port).
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol::name(self.protocol) {
            Some(name) => write!(f, "{name} ")?,
            None => write!(f, "{} ", self.protocol)?,
        }
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            None => write!(f, "*")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => write!(f, ":?"),
        }
    }
}

/// What kind of address reaches a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// The cluster IP.
    ClusterIp,
    /// One of `externalIPs`.
    ExternalIp,
    /// An address of the load balancer.
    LoadBalancerIp,
    /// An external or a load balancer's address: the rule, which refuses, does not say which.
    External,
    /// A port of every address of the node.
    NodePort,
    /// The node's port that tells a load balancer whether the node has endpoints.
    HealthCheck,
}

impl KeyKind {
    /// In Service words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster IP",
            Self::ExternalIp => "external IP",
            Self::LoadBalancerIp => "load-balancer IP",
            Self::External => "external or load-balancer IP",
            Self::NodePort => "node port",
            Self::HealthCheck => "health check node port",
        }
    }
}

/// Why packets to a key meet no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// There is none: rejected.
    NoEndpoints,
    /// There is none on this node, and the traffic policy asks for one: dropped.
    NoLocalEndpoints,
}

impl Refusal {
    /// In Service words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoEndpoints => "no endpoints",
            Self::NoLocalEndpoints => "no local endpoints",
        }
    }
}

/// A chain that chooses among endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancing {
    /// `KUBE-SVC-…`, `KUBE-SVL-…` or `KUBE-XLB-…`.
    pub chain: ChainId,
    /// Whether it holds this node's endpoints only.
    pub local: bool,
    /// Its endpoints, in the order in which they are asked.
    pub endpoints: Vec<Choice>,
}

impl Balancing {
    /// The probability of each endpoint, for a packet that affinity does not bind.
    pub fn probabilities(&self) -> Vec<f64> {
        let mut left = 1.0;
        let choose = |choice: &Choice| {
            let taken = choice
                .threshold
                .map_or(left, |t| left * f64::from(t) / f64::from(1u32 << 31));
            left -= taken;
            taken
        };
        self.endpoints.iter().map(choose).collect()
    }
}

/// An endpoint in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The rule that takes it.
    pub rule: RuleId,
    /// Out of 2^31, of the packets that reach the rule, how many it takes; `None`: all.
    pub threshold: Option<u32>,
    /// Where it leads; `None` where the dump does not say.
    pub endpoint: Option<Endpoint>,
}

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None`: the one asked for.
    pub port: Option<u16>,
}

/// `10.10.2.58:16443`, `[fd00::1]:80`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
            (address, None) => write!(f, "{address}"),
        }
    }
}

impl Services {
    /// Reads the names of a ruleset.
    pub fn new(ruleset: &Ruleset) -> Self {
        let (names, chains, rules) = names::assign(ruleset);
        let mut services = Self {
            services: names.into_iter().map(unread).collect(),
            chains,
            rules,
            endpoints: balancing::chain_endpoints(ruleset),
        };
        let walked = names::walked(ruleset, &services.chains);
        keys::collect(ruleset, &walked, &mut services);
        balancing::collect(ruleset, &walked, &mut services);
        services
    }

    /// Every Service port, by name.
    pub fn all(&self) -> &[Service] {
        &self.services
    }

    /// The Service that a chain belongs to.
    pub fn of_chain(&self, chain: ChainId) -> Option<ServiceId> {
        self.chains.get(chain.index()).copied().flatten()
    }

    /// The Service that a rule belongs to: by its own comment, by its chain, or by the chain it jumps to.
    pub fn of_rule(&self, rule: RuleId) -> Option<ServiceId> {
        self.rules.get(rule.index()).copied().flatten()
    }

    /// The endpoint that a rule leads to: its DNAT's, or that of the `KUBE-SEP` chain it stands in or jumps to.
    pub fn endpoint(&self, ruleset: &Ruleset, rule: RuleId) -> Option<Endpoint> {
        balancing::endpoint(ruleset, &self.endpoints, rule)
    }

    /// The `namespace/name:port` of a rule.
    pub fn name_of_rule(&self, rule: RuleId) -> Option<&str> {
        self.of_rule(rule).map(|id| self[id].name.as_str())
    }
}

impl std::ops::Index<ServiceId> for Services {
    type Output = Service;

    fn index(&self, id: ServiceId) -> &Service {
        &self.services[id.0 as usize]
    }
}

fn unread(name: String) -> Service {
    Service {
        name,
        keys: Vec::new(),
        affinity_seconds: None,
        source_ranges: Vec::new(),
        internal_local: false,
        external_local: false,
        balancings: Vec::new(),
    }
}

/// A port range of one port.
fn single(ports: PortRange) -> Option<u16> {
    (ports.first == ports.last).then_some(ports.first)
}
