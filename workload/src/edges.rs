//! Packets on the edges of rules: for each rule one that follows the jumps to it and fulfils it, then each with one field at a
//! boundary of a rule on that way, or one beside it. Random packets meet only policies; these meet the rules.

use crate::numbers::Numbers;
use kpclass_ruleset::matches::{Match, MatchKind, Ports};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{
    Family, Interface, PortRange, Prefix, address_number, number_address, protocol,
};
use kpclass_ruleset::{ChainId, Hook, RuleId, Ruleset, TableId};
use std::net::IpAddr;

/// Makes packets for one ruleset.
#[derive(Debug)]
pub struct Edges<'a> {
    ruleset: &'a Ruleset,
    /// For each chain a rule that jumps to it, where some built-in chain leads there.
    way_in: Vec<Option<RuleId>>,
    addresses: Vec<u128>,
    ports: Vec<u16>,
    interfaces: Vec<Interface>,
    locals: Vec<IpAddr>,
    numbers: Numbers,
}

impl<'a> Edges<'a> {
    /// For a ruleset on a node with these addresses.
    pub fn new(ruleset: &'a Ruleset, locals: &[IpAddr], seed: u64) -> Self {
        let family = ruleset.family();
        let mut edges = Self {
            ruleset,
            way_in: ways_in(ruleset),
            addresses: Vec::new(),
            ports: vec![0, 1, 80, 443, 65535],
            interfaces: vec![Interface::lo()],
            locals: locals
                .iter()
                .copied()
                .filter(|a| Family::of(*a) == family)
                .collect(),
            numbers: Numbers::new(seed),
        };
        edges.collect();
        edges
    }

    /// The values that rules name, each a choice for every packet's other fields.
    fn collect(&mut self) {
        let all = self
            .ruleset
            .rules()
            .flat_map(|(_, rule)| self.ruleset.matches(rule));
        for m in all {
            match &m.kind {
                MatchKind::Source(p) | MatchKind::Destination(p) => {
                    self.addresses.push(address_number(p.address()));
                }
                MatchKind::InInterface(p) | MatchKind::OutInterface(p) => {
                    self.interfaces.push(p.name);
                }
                MatchKind::Tcp(t) => push_ports(&mut self.ports, t.ports),
                MatchKind::Udp(p) | MatchKind::Sctp(p) => push_ports(&mut self.ports, *p),
                _ => {}
            }
        }
        let outside: [u128; 2] = match self.ruleset.family() {
            Family::V4 => [0xc0a8_0709, 0x0808_0808],
            Family::V6 => [0x2001_0db8 << 96 | 9, 0xfd00 << 112 | 0x99],
        };
        self.addresses.extend(outside);
        self.addresses
            .extend(self.locals.iter().map(|a| address_number(*a)));
        self.addresses.sort_unstable();
        self.addresses.dedup();
        self.ports.sort_unstable();
        self.ports.dedup();
        self.interfaces.sort_unstable();
        self.interfaces.dedup();
    }

    /// The packets of one rule; `extra` more are drawn at random around it.
    pub fn of_rule(&mut self, rule: RuleId, extra: usize) -> Vec<Packet> {
        let way = self.way(rule);
        let Some(hook) = self.start(&way) else {
            return Vec::new();
        };
        let mut base = self.anything(hook);
        for rule in &way {
            for m in self.ruleset.matches(self.ruleset.rule(*rule)) {
                fulfil(&mut base, m);
            }
        }
        settle(&mut base);
        let mut packets = vec![base.clone()];
        for rule in &way {
            for m in self.ruleset.matches(self.ruleset.rule(*rule)) {
                packets.extend(beside(&base, m));
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

    /// The rules that lead from a built-in chain to a rule, that one last.
    fn way(&self, rule: RuleId) -> Vec<RuleId> {
        let mut way = vec![rule];
        let mut chain = self.ruleset.rule(rule).chain;
        // No chain is on a way twice: at most as many steps as chains.
        for _ in 0..self.ruleset.chains().len() {
            match self.way_in[chain.index()] {
                Some(from) => {
                    way.push(from);
                    chain = self.ruleset.rule(from).chain;
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
        let both = [Hook::Prerouting, Hook::Output];
        match self.ruleset.chain(first).hook? {
            Hook::Prerouting | Hook::Forward => Some(Hook::Prerouting),
            Hook::Output => Some(Hook::Output),
            Hook::Input | Hook::Postrouting => self.numbers.pick(&both).copied(),
        }
    }

    fn address(&mut self) -> IpAddr {
        let number = self
            .numbers
            .pick(&self.addresses)
            .copied()
            .unwrap_or_default();
        let step = [0, 0, 0, 1, u128::MAX][self.numbers.index(5)];
        let all = match self.ruleset.family() {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        };
        number_address(self.ruleset.family(), number.wrapping_add(step) & all)
    }

    fn port(&mut self) -> u16 {
        let port = self.numbers.pick(&self.ports).copied().unwrap_or_default();
        let step = [0, 0, 0, 1, u16::MAX][self.numbers.index(5)];
        port.wrapping_add(step)
    }

    fn device(&mut self) -> Option<Interface> {
        match self.numbers.index(3) {
            0 => None,
            1 => Interface::new("eth0"),
            _ => self.numbers.pick(&self.interfaces).copied(),
        }
    }

    /// A packet with fields that some rule names.
    pub fn anything(&mut self, hook: Hook) -> Packet {
        let number =
            [protocol::TCP, protocol::TCP, protocol::UDP, protocol::SCTP][self.numbers.index(4)];
        let (mut source, destination) = (self.address(), self.address());
        if hook == Hook::Output {
            source = self.numbers.pick(&self.locals).copied().unwrap_or(source);
        }
        let ports = (40_000 + self.numbers.index(1000) as u16, self.port());
        let mut packet = Packet::new(hook, number, source, destination, Some(ports));
        packet.in_interface = if hook == Hook::Prerouting {
            self.device()
        } else {
            None
        };
        packet
    }

    /// Changes one field, or a few.
    fn disturb(&mut self, packet: &mut Packet) {
        for _ in 0..=self.numbers.index(3) {
            match self.numbers.index(8) {
                0 | 1 => packet.source = self.address(),
                2 => packet.destination = self.address(),
                3 => {
                    let port = self.port();
                    packet.ports = packet.ports.map(|(source, _)| (source, port));
                }
                4 => packet.in_interface = self.device(),
                5 => {
                    let of = [6, 17, 132, 1, 47, 58];
                    packet.protocol = of[self.numbers.index(of.len())];
                }
                6 => {
                    let both = [Hook::Prerouting, Hook::Output];
                    packet.hook = both[self.numbers.index(2)];
                }
                _ => packet.mark = [0, 0x4000, 0x8000, u32::MAX][self.numbers.index(4)],
            }
        }
    }
}

/// For each chain that a built-in chain leads to, the rule through which a breadth-first search found it.
fn ways_in(ruleset: &Ruleset) -> Vec<Option<RuleId>> {
    let mut way_in = vec![None; ruleset.chains().len()];
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
            if let Target::Jump(to) | Target::Goto(to) = rule.target
                && !std::mem::replace(&mut seen[to.index()], true)
            {
                way_in[to.index()] = Some(id);
                queue.push_back(to);
            }
        }
    }
    way_in
}

fn push_ports(ports: &mut Vec<u16>, of: Ports) {
    for range in [of.source, of.destination] {
        ports.extend([range.first, range.last]);
    }
}

/// Changes the packet so that the match holds, where one field can do that.
fn fulfil(packet: &mut Packet, m: &Match) {
    match &m.kind {
        MatchKind::Source(p) => packet.source = inside(*p, m.inverted, packet.source),
        MatchKind::Destination(p) => {
            packet.destination = inside(*p, m.inverted, packet.destination);
        }
        MatchKind::Protocol(number) if !m.inverted => packet.protocol = *number,
        MatchKind::Tcp(t) => {
            packet.protocol = protocol::TCP;
            fulfil_ports(packet, t.ports);
            if !t.flags_inverted && t.flags_mask != 0 {
                let kept = packet.tcp_flags.unwrap_or_default() & !t.flags_mask;
                packet.tcp_flags = Some(kept | t.flags_value);
            }
        }
        MatchKind::Udp(p) => {
            packet.protocol = protocol::UDP;
            fulfil_ports(packet, *p);
        }
        MatchKind::Sctp(p) => {
            packet.protocol = protocol::SCTP;
            fulfil_ports(packet, *p);
        }
        MatchKind::Icmp(t) | MatchKind::Icmpv6(t) => packet.icmp = Some((t.kind, t.code_first)),
        MatchKind::InInterface(p) if !m.inverted => packet.in_interface = Some(p.name),
        MatchKind::Mark(t) if !m.inverted => packet.mark = packet.mark & !t.mask | t.value,
        MatchKind::Iprange(r) => {
            if let Some((first, _, false)) = r.source {
                packet.source = first;
            }
            if let Some((first, _, false)) = r.destination {
                packet.destination = first;
            }
        }
        MatchKind::Multiport(list) if !m.inverted => {
            if let Some(range) = list.ports.first() {
                packet.ports = Some((packet.ports.map_or(40_000, |p| p.0), range.first));
            }
        }
        _ => {}
    }
}

fn inside(prefix: Prefix, inverted: bool, present: IpAddr) -> IpAddr {
    if prefix.contains(present) != inverted {
        return present;
    }
    if inverted {
        stepped(last(prefix), 1)
    } else {
        prefix.address()
    }
}

fn last(prefix: Prefix) -> IpAddr {
    let hosts = !address_number(prefix.mask());
    let all = match prefix.family() {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    };
    number_address(
        prefix.family(),
        address_number(prefix.address()) | hosts & all,
    )
}

fn stepped(address: IpAddr, step: i8) -> IpAddr {
    let number = address_number(address).wrapping_add_signed(i128::from(step));
    number_address(Family::of(address), number)
}

fn fulfil_ports(packet: &mut Packet, of: Ports) {
    let (source, destination) = packet.ports.unwrap_or((40_000, 0));
    let choose = |range: PortRange, inverted: bool, present: u16| {
        if range.contains(present) != inverted {
            present
        } else if inverted {
            range.last.wrapping_add(1)
        } else {
            range.first
        }
    };
    packet.ports = Some((
        choose(of.source, of.source_inverted, source),
        choose(of.destination, of.destination_inverted, destination),
    ));
}

/// The packet with the field of a match at each edge of it and one beside.
fn beside(base: &Packet, m: &Match) -> Vec<Packet> {
    let with = |change: &dyn Fn(&mut Packet)| {
        let mut packet = base.clone();
        change(&mut packet);
        packet
    };
    let addresses = |p: &Prefix| {
        let (first, last) = (p.address(), last(*p));
        [first, stepped(first, -1), last, stepped(last, 1)]
    };
    let ports = |of: Ports| {
        let (first, last) = (of.destination.first, of.destination.last);
        [first, first.wrapping_sub(1), last, last.wrapping_add(1)]
            .map(|port| with(&|p| p.ports = p.ports.map(|(source, _)| (source, port))))
            .to_vec()
    };
    match &m.kind {
        MatchKind::Source(p) => addresses(p).map(|a| with(&|p| p.source = a)).to_vec(),
        MatchKind::Destination(p) => addresses(p).map(|a| with(&|p| p.destination = a)).to_vec(),
        MatchKind::Tcp(t) => ports(t.ports),
        MatchKind::Udp(p) | MatchKind::Sctp(p) => ports(*p),
        MatchKind::Protocol(_) => [6, 17, 132, 1, 47]
            .map(|number| with(&|p| p.protocol = number))
            .to_vec(),
        MatchKind::Mark(t) => [t.value, t.value ^ t.mask, !t.value]
            .map(|mark| with(&|p| p.mark = mark))
            .to_vec(),
        MatchKind::InInterface(pattern) => [Some(pattern.name), Interface::new("other0"), None]
            .map(|device| with(&|p| p.in_interface = device))
            .to_vec(),
        _ => Vec::new(),
    }
}

/// Makes the fields fit the protocol, and the device the hook.
fn settle(packet: &mut Packet) {
    let has_ports = matches!(packet.protocol, 6 | 17 | 33 | 132 | 136);
    packet.ports = has_ports.then(|| packet.ports.unwrap_or((40_000, 80)));
    packet.tcp_flags = (packet.protocol == protocol::TCP).then(|| {
        packet
            .tcp_flags
            .unwrap_or(kpclass_ruleset::packet::tcp_flag::SYN)
    });
    packet.icmp = match packet.protocol {
        protocol::ICMP => Some(packet.icmp.unwrap_or((8, 0))),
        protocol::ICMPV6 => Some(packet.icmp.unwrap_or((128, 0))),
        _ => None,
    };
    if packet.hook == Hook::Output {
        packet.in_interface = None;
    }
}
