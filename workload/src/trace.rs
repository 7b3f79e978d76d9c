//! Packets for a ruleset that a kernel can be given, one by one: every field known, as the kernel will see it.

use crate::edges::Edges;
use crate::frame::{Framer, Link, Origin};
use crate::numbers::Numbers;
use crate::rulesets::Generated;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{Family, Interface, protocol};
use kpclass_ruleset::{Hook, RuleId, Ruleset};
use std::net::IpAddr;

/// The TTL and the source MAC of a packet for which no rule asks for another.
const TTL: u8 = 64;
const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// Longer packets may not pass a device.
const LONGEST: u16 = 1400;

/// `n` packets on the edges of the ruleset's rules, in no order, with some of what trips walkers: hairpins, the node and itself, protocols
/// without ports, port 0, loopback, multicast and broadcast addresses, flags that open no connection.
///
/// Each arrives on one of the ruleset's devices, or is sent by the node, mostly with an address of its own. Its ctstate is that of the first
/// packet of a connection, its length the one that [`Framer::whole`] gives it, its TTL at least 2, so that it can be forwarded; its mark may
/// be set before any rule does.
pub fn trace(generated: &Generated, n: usize, seed: u64) -> Vec<Packet> {
    let on = Setting {
        ruleset: &generated.ruleset,
        node: &generated.node,
        devices: &generated.devices,
    };
    on.trace(n, seed)
}

/// Where packets are to go: rules on a node.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The rules.
    pub ruleset: &'a Ruleset,
    /// The node; addresses that are told with a device are those that it sends from.
    pub node: &'a NodeFacts,
    /// The devices that packets arrive on.
    pub devices: &'a [Interface],
}

impl Setting<'_> {
    /// As [`trace`], for any ruleset.
    pub fn trace(&self, n: usize, seed: u64) -> Vec<Packet> {
        make(*self, n, seed)
    }
}

fn make(on: Setting<'_>, n: usize, seed: u64) -> Vec<Packet> {
    let mut trace = Trace {
        on,
        edges: Edges::on_node(on.ruleset, on.node, seed),
        numbers: Numbers::new(seed ^ 0x0074_7261_6365),
        framer: Framer::whole(Link::Raw),
        locals: locals(on.node, on.ruleset.family()),
        endpoints: endpoints(on.ruleset),
    };
    let mut rules: Vec<RuleId> = on.ruleset.rules().map(|(id, _)| id).collect();
    let mut packets = Vec::with_capacity(n + 8);
    while packets.len() < n {
        trace.numbers.shuffle(&mut rules);
        for rule in &rules {
            trace.around(*rule, &mut packets);
        }
        trace.anywhere(&mut packets);
    }
    trace.numbers.shuffle(&mut packets);
    packets.truncate(n);
    packets
}

struct Trace<'a> {
    on: Setting<'a>,
    edges: Edges<'a>,
    numbers: Numbers,
    framer: Framer,
    locals: Vec<IpAddr>,
    endpoints: Vec<IpAddr>,
}

impl Trace<'_> {
    /// A packet that is to meet the rule, a few on its edges, one disturbed, one that trips.
    fn around(&mut self, rule: RuleId, packets: &mut Vec<Packet>) {
        let mut all = self.edges.of_rule(rule, 1);
        let Some(base) = all.first().cloned() else {
            return;
        };
        self.numbers.shuffle(&mut all);
        all.truncate(3);
        all.push(base.clone());
        let mut tripping = base;
        self.trip(&mut tripping);
        all.push(tripping);
        for packet in all {
            let packet = self.settled(packet);
            packets.push(packet);
        }
    }

    /// Packets of no rule in particular.
    fn anywhere(&mut self, packets: &mut Vec<Packet>) {
        for hook in [Hook::Prerouting, Hook::Output] {
            let mut packet = self.edges.anything(hook);
            self.edges.disturb(&mut packet);
            let packet = self.settled(packet);
            packets.push(packet);
        }
    }

    fn trip(&mut self, packet: &mut Packet) {
        let family = self.on.ruleset.family();
        match self.numbers.index(9) {
            // An endpoint that reaches itself by its Service.
            0 => packet.source = self.endpoint(packet.source),
            1 => {
                packet.hook = Hook::Output;
                packet.source = self.local(packet.source);
            }
            2 => {
                packet.hook = Hook::Output;
                packet.source = self.local(packet.source);
                packet.destination = self.local(packet.destination);
            }
            3 => packet.protocol = protocol::ICMP,
            4 => {
                packet.protocol = self.numbers.choose([protocol::GRE, protocol::ESP, 253]);
            }
            5 => packet.ports = packet.ports.map(|(source, _)| (source, 0)),
            6 => packet.tcp_flags = Some(self.numbers.choose([tcp_flag::RST, 0, tcp_flag::ACK])),
            7 => packet.destination = self.odd(family),
            _ => packet.source = self.odd(family),
        }
    }

    fn odd(&mut self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.numbers.choose([
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from([127, 9, 9, 9]),
                IpAddr::from([224, 0, 0, 1]),
                IpAddr::from([255, 255, 255, 255]),
                IpAddr::from([240, 0, 0, 1]),
                IpAddr::from([0, 0, 0, 0]),
            ]),
            Family::V6 => self.numbers.choose([
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
                IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]),
                IpAddr::from([0xff0e, 0, 0, 0, 0, 0, 0, 9]),
            ]),
        }
    }

    fn local(&mut self, otherwise: IpAddr) -> IpAddr {
        let local = self.numbers.pick(&self.locals).copied();
        local.unwrap_or(otherwise)
    }

    fn endpoint(&mut self, otherwise: IpAddr) -> IpAddr {
        let endpoint = self.numbers.pick(&self.endpoints).copied();
        endpoint.unwrap_or(otherwise)
    }

    /// The packet as a kernel can be given it.
    fn settled(&mut self, mut packet: Packet) -> Packet {
        self.settle_protocol(&mut packet);
        match packet.hook {
            Hook::Output => {
                packet.in_interface = None;
                packet.source_mac = None;
                if !self.locals.contains(&packet.source) && self.numbers.chance(0.9) {
                    packet.source = self.local(packet.source);
                }
            }
            _ => {
                let devices = self.on.devices;
                let there = packet.in_interface.filter(|d| devices.contains(d));
                packet.in_interface = there.or_else(|| self.numbers.pick(devices).copied());
                packet.source_mac = packet.source_mac.or(Some(SOURCE_MAC));
            }
        }
        packet.ttl = Some(packet.ttl.unwrap_or(TTL).max(2));
        packet.dscp = Some(packet.dscp.unwrap_or(0));
        packet.ctstate = packet.first_ctstate();
        let wanted = packet.length.take().unwrap_or(0).min(LONGEST);
        let least = self.framer.frame(&packet, Origin::Outside).len();
        packet.length = Some(wanted.max(u16::try_from(least).unwrap_or(LONGEST)));
        packet
    }

    /// A protocol that the family has as an upper layer, and the fields of its own.
    fn settle_protocol(&mut self, packet: &mut Packet) {
        packet.protocol = match (packet.family(), packet.protocol) {
            (Family::V4, protocol::ICMPV6) => protocol::ICMP,
            (Family::V6, protocol::ICMP) => protocol::ICMPV6,
            // Extension headers of IPv6.
            (Family::V6, 0 | 43 | 44 | 51 | 59 | 60 | 135 | 139 | 140) => protocol::UDP,
            (_, number) => number,
        };
        let whole = !packet.fragment;
        let of = |is: bool| is && whole;
        packet.ports = of(matches!(packet.protocol, 6 | 17 | 33 | 132 | 136))
            .then(|| packet.ports.unwrap_or((40_000, 80)));
        packet.tcp_flags =
            of(packet.protocol == protocol::TCP).then(|| packet.tcp_flags.unwrap_or(tcp_flag::SYN));
        packet.icmp = match packet.protocol {
            protocol::ICMP if whole => Some(echo(packet.icmp, 8)),
            protocol::ICMPV6 if whole => Some(echo(packet.icmp, 128)),
            _ => None,
        };
    }
}

/// The type and code that the packet has, unless they were made for the other family's ICMP.
fn echo(icmp: Option<(u8, u8)>, request: u8) -> (u8, u8) {
    match icmp {
        Some((8, code)) | Some((128, code)) => (request, code),
        Some(other) => other,
        None => (request, 0),
    }
}

fn locals(node: &NodeFacts, family: Family) -> Vec<IpAddr> {
    let local = node.local.iter();
    local
        .flat_map(|local| local.devices.iter().map(|(_, address)| *address))
        .filter(|address| Family::of(*address) == family)
        .collect()
}

/// The addresses that rules rewrite destinations to.
fn endpoints(ruleset: &Ruleset) -> Vec<IpAddr> {
    let rules = ruleset.rules();
    rules
        .filter_map(|(_, rule)| match &rule.target {
            Target::Dnat(range) => range.addresses.map(|(first, _)| first),
            _ => None,
        })
        .collect()
}
