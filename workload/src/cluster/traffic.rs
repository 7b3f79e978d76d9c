//! Packets that hit a ruleset's Services, and some that miss them.

use crate::frame::Origin;
use crate::numbers::Numbers;
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::node::is_loopback;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::services::{Service, Services};
use kpclass_ruleset::value::{Family, Prefix, address_number, number_address, protocol};
use kpclass_ruleset::{Hook, Ruleset};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Pods and clients are this many at most, as they are around one node.
const MOST_SOURCES: u128 = 1024;

/// Clients outside the cluster, and destinations that no rule knows.
const OUTSIDE: [(IpAddr, u32); 2] = [
    (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)), 24),
    (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0)),
        64,
    ),
];
const ELSEWHERE: [(IpAddr, u32); 2] = [
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), 24),
    (
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0)),
        64,
    ),
];
/// Pods, where no rule tells which addresses are theirs.
const PODS: [(IpAddr, u32); 2] = [
    (IpAddr::V4(Ipv4Addr::new(10, 1, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0)), 64),
];

/// A way to reach a Service.
#[derive(Clone, Copy, Debug)]
struct Target {
    protocol: u8,
    destination: IpAddr,
    port: u16,
    /// Whose endpoints reach themselves: an index into `endpoints`, and how many.
    endpoints: (usize, usize),
    /// Whom its load balancer takes.
    allowed: Option<Prefix>,
}

/// Who sends a packet.
#[derive(Clone, Copy)]
enum Sender {
    Pod,
    Outside,
    Node,
    Endpoint,
}

/// A source of packets, for ever.
#[derive(Debug)]
pub struct Traffic {
    numbers: Numbers,
    hit: f64,
    targets: Vec<Target>,
    endpoints: Vec<IpAddr>,
    nodes: Vec<IpAddr>,
    pods: [Prefix; 2],
    families: Vec<Family>,
}

impl Traffic {
    /// Packets for these rulesets; a share of `hit` of them goes to Services. `nodes` are the node's addresses.
    pub fn new<'r>(
        rulesets: impl IntoIterator<Item = &'r Ruleset>,
        nodes: Vec<IpAddr>,
        hit: f64,
        seed: u64,
    ) -> Self {
        let mut traffic = Self {
            numbers: Numbers::new(seed),
            hit,
            targets: Vec::new(),
            endpoints: Vec::new(),
            nodes: nodes
                .into_iter()
                .filter(|address| !is_loopback(*address))
                .collect(),
            pods: PODS.map(prefix),
            families: Vec::new(),
        };
        for ruleset in rulesets {
            traffic.families.push(ruleset.family());
            traffic.pods[ruleset.family() as usize] = pods(ruleset);
            let services = Services::new(ruleset);
            services
                .all()
                .iter()
                .for_each(|service| traffic.add(ruleset.family(), service));
        }
        traffic
    }

    /// How many ways there are to reach a Service.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    fn add(&mut self, family: Family, service: &Service) {
        let first = self.endpoints.len();
        for balancing in service.balancings.iter().take(1) {
            self.endpoints.extend(
                balancing
                    .endpoints
                    .iter()
                    .filter_map(|c| Some(c.endpoint?.address)),
            );
        }
        let endpoints = (first, self.endpoints.len() - first);
        let allowed = service.source_ranges.first().copied();
        for key in &service.keys {
            let node = || {
                self.nodes
                    .iter()
                    .copied()
                    .find(|node| Family::of(*node) == family)
            };
            if let (Some(destination), Some(port)) = (key.address.or_else(node), key.port) {
                let protocol = key.protocol;
                self.targets.push(Target {
                    protocol,
                    destination,
                    port,
                    endpoints,
                    allowed,
                });
            }
        }
    }

    /// One packet from every kind of sender to every way to reach a Service, then one from each to none.
    pub fn tour(&mut self) -> Vec<(Packet, Origin)> {
        let mut packets = Vec::new();
        for target in self.targets.clone() {
            for sender in [Sender::Pod, Sender::Outside, Sender::Node, Sender::Endpoint] {
                packets.push(self.from(sender, target));
            }
            if let Some(allowed) = target.allowed {
                let (mut packet, origin) = self.from(Sender::Outside, target);
                packet.source = self.inside(allowed);
                packets.push((packet, origin));
            }
        }
        packets.extend((0..8).map(|_| self.miss(None)));
        packets
    }

    /// The next packet, and where it comes from.
    pub fn packet(&mut self) -> (Packet, Origin) {
        let hit = self.numbers.chance(self.hit);
        match self.numbers.pick(&self.targets).copied() {
            Some(target) if hit => self.to(target),
            known => self.miss(known),
        }
    }

    fn to(&mut self, target: Target) -> (Packet, Origin) {
        let sender = match self.numbers.below(10) {
            0..=5 => Sender::Pod,
            6 | 7 => Sender::Outside,
            8 => Sender::Node,
            _ => Sender::Endpoint,
        };
        self.from(sender, target)
    }

    fn from(&mut self, sender: Sender, target: Target) -> (Packet, Origin) {
        let family = Family::of(target.destination);
        let (source, origin) = self.source(sender, family, target);
        let from = 1024 + self.numbers.below(64_512) as u16;
        let hook = if origin == Origin::Node {
            Hook::Output
        } else {
            Hook::Prerouting
        };
        let ports = Some((from, target.port));
        (
            Packet::new(hook, target.protocol, source, target.destination, ports),
            origin,
        )
    }

    fn source(&mut self, sender: Sender, family: Family, target: Target) -> (IpAddr, Origin) {
        let (first, count) = target.endpoints;
        match sender {
            Sender::Endpoint if count > 0 => {
                let endpoint = self.endpoints[first + self.numbers.below(count as u64) as usize];
                let node = self.nodes.contains(&endpoint);
                (endpoint, if node { Origin::Node } else { Origin::Pod })
            }
            Sender::Outside => {
                let allowed = target.allowed.filter(|_| self.numbers.chance(0.5));
                let from = allowed.unwrap_or_else(|| prefix(OUTSIDE[family as usize]));
                (self.inside(from), Origin::Outside)
            }
            Sender::Node => match self.nodes.iter().find(|node| Family::of(**node) == family) {
                Some(node) => (*node, Origin::Node),
                None => (self.inside(self.pods[family as usize]), Origin::Pod),
            },
            _ => (self.inside(self.pods[family as usize]), Origin::Pod),
        }
    }

    /// A packet to no Service: a known address's next port, or an address that nothing knows.
    fn miss(&mut self, known: Option<Target>) -> (Packet, Origin) {
        let near = known.filter(|_| self.numbers.chance(0.5));
        let target = near.map(|target| Target {
            port: target.port.wrapping_add(1),
            ..target
        });
        let target = target.unwrap_or_else(|| {
            let family = self
                .numbers
                .pick(&self.families)
                .copied()
                .unwrap_or(Family::V4);
            let destination = self.inside(prefix(ELSEWHERE[family as usize]));
            let port = 1 + self.numbers.below(1023) as u16;
            let protocol = if self.numbers.chance(0.8) {
                protocol::TCP
            } else {
                protocol::UDP
            };
            Target {
                protocol,
                destination,
                port,
                endpoints: (0, 0),
                allowed: None,
            }
        });
        self.to(target)
    }

    /// One of the first hosts of a prefix.
    fn inside(&mut self, prefix: Prefix) -> IpAddr {
        let family = prefix.family();
        let bits = family.bits() - prefix.len().unwrap_or(family.bits());
        let hosts = 1u128
            .checked_shl(bits)
            .unwrap_or(u128::MAX)
            .min(MOST_SOURCES);
        let host = u128::from(self.numbers.below(hosts as u64));
        number_address(family, address_number(prefix.address()) | host)
    }
}

fn prefix((address, len): (IpAddr, u32)) -> Prefix {
    Prefix::with_len(address, len).unwrap_or(Prefix::host(address))
}

/// The pods' addresses: what a rule that masquerades the others leaves out.
fn pods(ruleset: &Ruleset) -> Prefix {
    let masquerading = |rule| {
        ruleset.matches(rule).iter().find_map(|m| match m.kind {
            MatchKind::Source(prefix) if m.inverted && prefix.len().is_some() => Some(prefix),
            _ => None,
        })
    };
    let kube = |rule: &&kpclass_ruleset::Rule| {
        let chain = ruleset.chain_name(rule.chain);
        chain == "KUBE-SERVICES" || chain.starts_with("KUBE-SV")
    };
    let found = ruleset
        .rules()
        .map(|(_, rule)| rule)
        .filter(kube)
        .find_map(masquerading);
    found.unwrap_or_else(|| prefix(PODS[ruleset.family() as usize]))
}
