//! A synthetic cluster: so many Services with so many endpoints, and every feature in turn.

use super::{Cluster, Endpoint, ServicePort};
use crate::numbers::Numbers;
use kpclass_ruleset::value::{Family, Prefix, address_number, number_address};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a Service may have beside a cluster IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// All of them.
    All,
    /// Nothing else.
    ClusterIp,
    /// A node port.
    NodePort,
    /// An external IP.
    ExternalIp,
    /// A load balancer.
    LoadBalancer,
    /// A load balancer for some sources only.
    SourceRanges,
    /// externalTrafficPolicy: Local, with a health check port.
    ExternalLocal,
    /// internalTrafficPolicy: Local.
    InternalLocal,
    /// Session affinity.
    Affinity,
    /// No endpoints at all.
    NoEndpoints,
    /// A UDP port beside the TCP one.
    Udp,
    /// SCTP.
    Sctp,
    /// Endpoints in the host's network, the node's own among them.
    HostNetwork,
}

/// The features in turn, as often as a cluster has them: mostly cluster IPs.
const ROUND: [Feature; 16] = {
    use Feature::*;
    [
        ClusterIp,
        NodePort,
        ClusterIp,
        LoadBalancer,
        Udp,
        ExternalIp,
        ClusterIp,
        Affinity,
        ExternalLocal,
        ClusterIp,
        InternalLocal,
        SourceRanges,
        ClusterIp,
        NoEndpoints,
        Sctp,
        HostNetwork,
    ]
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many Services.
    pub services: u32,
    /// How many endpoints each has.
    pub endpoints: u32,
    /// The family of all addresses.
    pub family: Family,
    /// Which features.
    pub features: Vec<Feature>,
    /// The seed.
    pub seed: u64,
}

/// Addresses of endpoints and Services are counted in 23 bits.
const MOST: u64 = 1 << 22;

/// Node ports that Kubernetes gives out.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// A plan that needs more addresses than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{services} services with {endpoints} endpoints each are {pods} pods; at most {MOST} are given addresses"
)]
pub struct PlanError {
    services: u32,
    endpoints: u32,
    pods: u64,
}

/// Where the addresses of each kind begin.
struct Addresses {
    pods: IpAddr,
    services: IpAddr,
    external: IpAddr,
    balancers: IpAddr,
    node: IpAddr,
    /// Sources that a load balancer takes.
    range: IpAddr,
}

impl Addresses {
    const V4: Self = Self {
        pods: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)),
        services: IpAddr::V4(Ipv4Addr::new(10, 128, 0, 0)),
        external: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)),
        balancers: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)),
        node: IpAddr::V4(Ipv4Addr::new(192, 168, 10, 2)),
        range: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 0)),
    };
    const V6: Self = Self {
        pods: IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0)),
        services: IpAddr::V6(Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 0)),
        external: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0)),
        balancers: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 0)),
        node: IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 2)),
        range: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0)),
    };

    fn new(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

/// The node's address in every generated cluster of the family.
pub fn node_address(family: Family) -> IpAddr {
    Addresses::new(family).node
}

fn nth(base: IpAddr, number: u64) -> IpAddr {
    number_address(Family::of(base), address_number(base) + u128::from(number))
}

impl Plan {
    /// Makes the cluster up.
    ///
    /// # Errors
    /// More pods than there are addresses for.
    pub fn cluster(&self) -> Result<Cluster, PlanError> {
        let pods = u64::from(self.services) * u64::from(self.endpoints.max(1));
        if pods > MOST {
            return Err(PlanError {
                services: self.services,
                endpoints: self.endpoints,
                pods,
            });
        }
        let round: Vec<Feature> = match self.features.contains(&Feature::All) {
            true => ROUND.to_vec(),
            false => ROUND
                .into_iter()
                .filter(|feature| self.features.contains(feature))
                .collect(),
        };
        let addresses = Addresses::new(self.family);
        let pod_bits = if self.family == Family::V4 { 9 } else { 64 };
        let mut builder = Builder {
            numbers: Numbers::new(self.seed),
            cluster: Cluster {
                family: self.family,
                pod_cidr: Prefix::with_len(addresses.pods, pod_bits),
                node: addresses.node,
                ports: Vec::new(),
            },
            addresses,
            next_node_port: *NODE_PORTS.start(),
            next_pod: 0,
            scatter: 0,
        };
        builder.scatter = builder.numbers.bits() | 1;
        for number in 0..self.services {
            let feature = round[number as usize % round.len()];
            builder.service(number, feature, self.endpoints);
        }
        Ok(builder.cluster)
    }
}

struct Builder {
    numbers: Numbers,
    cluster: Cluster,
    addresses: Addresses,
    next_node_port: u16,
    next_pod: u64,
    /// Odd, so that multiplying by it permutes the numbers of Services.
    scatter: u64,
}

impl Builder {
    fn service(&mut self, number: u32, feature: Feature, endpoints: u32) {
        let team = self.numbers.below(12);
        let name = format!("team-{team:02}/svc-{number:05}");
        let place = u64::from(number).wrapping_mul(self.scatter) % MOST;
        let cluster_ip = nth(self.addresses.services, place + 1);
        let (protocol, port_name, port) = match feature {
            Feature::Sctp => ("sctp", "diameter", 3868),
            _ => (
                "tcp",
                "http",
                if self.numbers.chance(0.7) { 80 } else { 443 },
            ),
        };
        let mut first = ServicePort::new(format!("{name}:{port_name}"), protocol, cluster_ip, port);
        self.feature(&mut first, feature, u64::from(number));
        if feature != Feature::NoEndpoints {
            first.endpoints = self.endpoints(endpoints, feature);
        }
        if feature == Feature::Udp {
            let mut second = ServicePort::new(format!("{name}:dns"), "udp", cluster_ip, 53);
            let same = first.endpoints.iter();
            second.endpoints = same
                .map(|endpoint| Endpoint {
                    port: 5353,
                    ..*endpoint
                })
                .collect();
            self.cluster.ports.push(second);
        }
        self.cluster.ports.push(first);
    }

    fn feature(&mut self, port: &mut ServicePort, feature: Feature, number: u64) {
        use Feature::{
            Affinity, ExternalIp, ExternalLocal, InternalLocal, LoadBalancer, NodePort,
            SourceRanges,
        };
        if matches!(
            feature,
            NodePort | LoadBalancer | SourceRanges | ExternalLocal
        ) {
            port.node_port = self.node_port();
        }
        if matches!(feature, LoadBalancer | SourceRanges | ExternalLocal) {
            port.load_balancer_ips = vec![nth(self.addresses.balancers, number + 1)];
        }
        match feature {
            ExternalIp => port.external_ips = vec![nth(self.addresses.external, number + 1)],
            SourceRanges => {
                let bits = if self.cluster.family == Family::V4 {
                    24
                } else {
                    64
                };
                port.source_ranges
                    .extend(Prefix::with_len(self.addresses.range, bits));
            }
            ExternalLocal => {
                port.external_local = true;
                port.health_check_port = self.node_port();
            }
            InternalLocal => port.internal_local = true,
            Affinity => port.affinity_seconds = Some(10_800),
            _ => {}
        }
    }

    /// The next node port; `None` when all are given out, as in a real cluster.
    fn node_port(&mut self) -> Option<u16> {
        let port = self.next_node_port;
        self.next_node_port += u16::from(NODE_PORTS.contains(&port));
        NODE_PORTS.contains(&port).then_some(port)
    }

    /// Pods of their own, about a quarter on this node; in the host's network the first is the node itself.
    fn endpoints(&mut self, count: u32, feature: Feature) -> Vec<Endpoint> {
        let mut endpoints = Vec::with_capacity(count as usize);
        for i in 0..count {
            self.next_pod += 1;
            let host = feature == Feature::HostNetwork && i == 0;
            let address = if host {
                self.addresses.node
            } else {
                nth(self.addresses.pods, self.next_pod)
            };
            let local = self.numbers.chance(0.25) || host;
            endpoints.push(Endpoint {
                address,
                port: if host { 6443 } else { 8080 },
                local,
            });
        }
        endpoints
    }
}
