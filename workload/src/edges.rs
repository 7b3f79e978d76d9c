//! Packets on the edges of rules: for each rule one that follows the jumps to it and fulfils it, then each with one field at a
//! boundary of a rule on that way, or one beside it. Random packets meet only policies; these meet the rules.
//!
//! ```text
//! match ─ parts ─► changes (inside, outside) ─► fulfil: one packet
//!                                          └──► beside: one packet each
//! ```

mod parts;
mod values;

use crate::numbers::Numbers;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{Family, Interface, protocol};
use kpclass_ruleset::{ChainId, Hook, RuleId, Ruleset, TableId};
use parts::parts;
use std::net::IpAddr;
use values::Values;

/// Makes packets for one ruleset.
#[derive(Debug)]
pub struct Edges<'a> {
    ruleset: &'a Ruleset,
    node: Option<&'a NodeFacts>,
    /// For each chain the rules that jump to it, the one by which a built-in chain leads there soonest first.
    ways_in: Vec<Vec<RuleId>>,
    values: Values,
    numbers: Numbers,
}

impl<'a> Edges<'a> {
    /// For a ruleset on a node with these addresses.
    pub fn new(ruleset: &'a Ruleset, locals: &[IpAddr], seed: u64) -> Self {
        let family = ruleset.family();
        let own = locals.iter().filter(|a| Family::of(**a) == family);
        Self {
            ruleset,
            node: None,
            ways_in: ways_in(ruleset),
            values: Values::of(ruleset, own.copied().collect(), None),
            numbers: Numbers::new(seed),
        }
    }

    /// For a ruleset on a node of which its addresses, devices and sets are known.
    pub fn on_node(ruleset: &'a Ruleset, node: &'a NodeFacts, seed: u64) -> Self {
        let local = node.local.iter().flat_map(|l| l.addresses.iter().copied());
        let mut locals: Vec<IpAddr> = local.collect();
        locals.sort_unstable();
        let mut edges = Self::new(ruleset, &locals, seed);
        edges.node = Some(node);
        edges.values = Values::of(ruleset, edges.values.locals, Some(node));
        edges
    }

    /// The packets of one rule; `extra` more are drawn at random around it.
    pub fn of_rule(&mut self, rule: RuleId, extra: usize) -> Vec<Packet> {
        let way = self.way(rule);
        let Some(hook) = self.start(&way) else {
            return Vec::new();
        };
        let mut base = self.anything(hook);
        self.fulfil(&way, &mut base);
        settle(&mut base);
        let mut packets = vec![base.clone()];
        for rule in &way {
            for m in self.ruleset.matches(self.ruleset.rule(*rule)) {
                for part in parts(m, &base, self.ruleset, self.node) {
                    for change in part.inside.iter().chain(&part.outside) {
                        let mut packet = base.clone();
                        change.apply(&mut packet);
                        packets.push(packet);
                    }
                }
            }
        }
        for _ in 0..extra {
            let mut packet = base.clone();
            self.disturb(&mut packet);
            packets.push(packet);
        }
        packets.iter_mut().for_each(settle);
        packets
    }

    /// Changes the packet so that the rules' matches hold, where fields can do that.
    fn fulfil(&mut self, way: &[RuleId], packet: &mut Packet) {
        for rule in way {
            for m in self.ruleset.matches(self.ruleset.rule(*rule)) {
                for part in parts(m, packet, self.ruleset, self.node) {
                    let wanted = if part.inverted {
                        &part.outside
                    } else {
                        &part.inside
                    };
                    if part.holds == part.inverted
                        && let Some(change) = self.numbers.pick(wanted)
                    {
                        change.apply(packet);
                    }
                }
            }
        }
    }

    /// The rules that lead from a built-in chain to a rule, that one last: mostly the shortest way, at times another.
    fn way(&mut self, rule: RuleId) -> Vec<RuleId> {
        let mut way = vec![rule];
        let mut chain = self.ruleset.rule(rule).chain;
        // No chain is on a way twice: at most as many steps as chains.
        for _ in 0..self.ruleset.chains().len() {
            let into = &self.ways_in[chain.index()];
            let other = self.numbers.chance(0.25);
            let from = if other {
                self.numbers.pick(into)
            } else {
                into.first()
            };
            match from {
                Some(from) => {
                    way.push(*from);
                    chain = self.ruleset.rule(*from).chain;
                }
                None => break,
            }
        }
        way.reverse();
        way
    }

    /// Where a packet that is to meet the way's first rule starts; `None` if no built-in chain leads there.
    fn start(&mut self, way: &[RuleId]) -> Option<Hook> {
        let first = self.ruleset.rule(*way.first()?).chain;
        match self.ruleset.chain(first).hook? {
            Hook::Prerouting | Hook::Forward => Some(Hook::Prerouting),
            Hook::Output => Some(Hook::Output),
            Hook::Input | Hook::Postrouting => {
                Some(self.numbers.choose([Hook::Prerouting, Hook::Output]))
            }
        }
    }

    /// A packet with fields that some rule names.
    pub fn anything(&mut self, hook: Hook) -> Packet {
        let numbers = &mut self.numbers;
        let number = numbers.choose([
            protocol::TCP,
            protocol::TCP,
            protocol::TCP,
            protocol::UDP,
            protocol::UDP,
            protocol::SCTP,
        ]);
        let (mut source, destination) =
            (self.values.address(numbers), self.values.address(numbers));
        if hook == Hook::Output {
            source = numbers.pick(&self.values.locals).copied().unwrap_or(source);
        }
        let ports = (
            40_000 + numbers.below(1000) as u16,
            self.values.port(numbers),
        );
        let mut packet = Packet::new(hook, number, source, destination, Some(ports));
        packet.in_interface = if hook == Hook::Prerouting {
            self.values.device(numbers)
        } else {
            None
        };
        packet
    }

    /// Changes one field, or a few.
    pub fn disturb(&mut self, packet: &mut Packet) {
        let (values, numbers) = (&self.values, &mut self.numbers);
        for _ in 0..=numbers.index(3) {
            match numbers.index(12) {
                0 | 1 => packet.source = values.address(numbers),
                2 => packet.destination = values.address(numbers),
                3 => {
                    let port = values.port(numbers);
                    packet.ports = packet.ports.map(|(source, _)| (source, port));
                }
                4 => packet.in_interface = values.device(numbers),
                5 => packet.protocol = numbers.choose([6, 17, 132, 1, 47, 58, 50, 33, 136, 253]),
                6 => packet.hook = numbers.choose([Hook::Prerouting, Hook::Output]),
                7 => packet.tcp_flags = Some(numbers.choose(ODD_FLAGS)),
                8 => packet.source = packet.destination,
                9 => {
                    packet.icmp =
                        Some(numbers.choose([(0, 0), (3, 1), (13, 0), (128, 0), (129, 0)]))
                }
                _ => packet.mark = values.mark(numbers),
            }
        }
    }
}

/// What conntrack takes for a first packet, and what it does not.
const ODD_FLAGS: [u8; 12] = {
    use tcp_flag::{ACK, ECE, FIN, PSH, RST, SYN, URG};
    [
        SYN | ACK,
        RST,
        RST | ACK,
        FIN,
        FIN | ACK,
        SYN | FIN,
        0,
        FIN | PSH | URG,
        ACK,
        SYN | PSH,
        SYN | URG,
        SYN | ECE,
    ]
};

/// For each chain that a built-in chain leads to, the rules through which a breadth-first search comes to it.
fn ways_in(ruleset: &Ruleset) -> Vec<Vec<RuleId>> {
    let mut ways_in = vec![Vec::new(); ruleset.chains().len()];
    let mut seen = vec![false; ruleset.chains().len()];
    let mut queue: std::collections::VecDeque<ChainId> = TableId::ALL
        .into_iter()
        .flat_map(|table| {
            table
                .hooks()
                .iter()
                .filter_map(move |hook| ruleset.entry(table, *hook))
        })
        .collect();
    queue.iter().for_each(|chain| seen[chain.index()] = true);
    while let Some(chain) = queue.pop_front() {
        for (id, rule) in ruleset.chain_rules(chain) {
            if let Target::Jump(to) | Target::Goto(to) = rule.target {
                ways_in[to.index()].push(id);
                if !std::mem::replace(&mut seen[to.index()], true) {
                    queue.push_back(to);
                }
            }
        }
    }
    ways_in
}

/// Makes the fields fit the protocol, and the device the hook.
fn settle(packet: &mut Packet) {
    let has_ports = matches!(packet.protocol, 6 | 17 | 33 | 132 | 136) && !packet.fragment;
    packet.ports = has_ports.then(|| packet.ports.unwrap_or((40_000, 80)));
    let whole = !packet.fragment;
    packet.tcp_flags = (packet.protocol == protocol::TCP && whole)
        .then(|| packet.tcp_flags.unwrap_or(tcp_flag::SYN));
    packet.icmp = match packet.protocol {
        protocol::ICMP if whole => Some(packet.icmp.unwrap_or((8, 0))),
        protocol::ICMPV6 if whole => Some(packet.icmp.unwrap_or((128, 0))),
        _ => None,
    };
    if packet.hook == Hook::Output {
        packet.in_interface = None;
        packet.source_mac = None;
    }
}

/// The devices of a node, each once.
fn devices(node: &NodeFacts) -> Vec<Interface> {
    let mut devices: Vec<Interface> = node
        .local
        .iter()
        .flat_map(|local| local.devices.iter().map(|(device, _)| *device))
        .collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}
