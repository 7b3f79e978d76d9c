//! One match → the conditions that it is the conjunction of.

use crate::graph::{AddressRange, Ask, Condition, ListId, MaskedAddress, RecentAsk};
use crate::lower::Lowering;
use kpclass_ruleset::conntrack::later_options;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{
    Addrtype, Conntrack, IcmpType, Iprange, Match, MatchKind, Multiport, Ports, Recent, SetMatch,
    Statistic, TcpMatch, TtlTest,
};
use kpclass_ruleset::value::{CtState, CtStates, PortRange, address_number, protocol};
use std::net::IpAddr;

impl Lowering<'_> {
    /// Appends the conditions of one match.
    pub(super) fn lower_match(&mut self, m: &Match) {
        let inverted = m.inverted;
        match &m.kind {
            MatchKind::Source(p) => self.ask(inverted, Ask::Source(MaskedAddress::new(*p))),
            MatchKind::Destination(p) => {
                self.ask(inverted, Ask::Destination(MaskedAddress::new(*p)));
            }
            MatchKind::InInterface(p) => self.ask(inverted, Ask::InInterface(*p)),
            MatchKind::OutInterface(p) => self.ask(inverted, Ask::OutInterface(*p)),
            MatchKind::Protocol(p) => self.ask(inverted, Ask::Protocol(*p)),
            MatchKind::Fragment => self.fragment(inverted),
            MatchKind::Comment(_) | MatchKind::Nfacct(_) => self.ask(inverted, Ask::True),
            MatchKind::Tcp(t) => self.tcp(inverted, t),
            MatchKind::Udp(p) => self.ports(inverted, protocol::UDP, p),
            MatchKind::Sctp(p) => self.ports(inverted, protocol::SCTP, p),
            MatchKind::Dccp(p) => self.ports(inverted, protocol::DCCP, p),
            MatchKind::Icmp(t) => self.icmp(inverted, false, *t),
            MatchKind::Icmpv6(t) => self.icmp(inverted, true, *t),
            MatchKind::Multiport(m) => self.multiport(inverted, m),
            MatchKind::Iprange(r) => self.iprange(r),
            MatchKind::Mark(t) => self.ask(inverted, Ask::Mark(t.mask, t.value)),
            MatchKind::Connmark(t) => {
                self.ask(false, Ask::HasConnection);
                self.ask(inverted, Ask::Connmark(t.mask, t.value));
            }
            MatchKind::Conntrack(c) => self.conntrack(c),
            MatchKind::State(states) => {
                self.ask(inverted, Ask::CtState(without_nat_flags(*states)));
            }
            MatchKind::Addrtype(a) => self.addrtype(*a),
            MatchKind::Statistic(Statistic::Random { threshold }) => {
                self.ask(inverted, Ask::Chance(*threshold, 1 << 31));
            }
            MatchKind::Statistic(Statistic::Nth { every, .. }) => {
                self.ask(inverted, Ask::Chance(1, (*every).max(1)));
            }
            MatchKind::Recent(r) => self.recent(inverted, r),
            MatchKind::Set(s) => self.set(inverted, s),
            MatchKind::Mac(mac) => {
                self.ask(false, Ask::FromDevice);
                self.ask(inverted, Ask::Mac(*mac));
            }
            MatchKind::Length(range) => self.ask(inverted, Ask::Length(*range)),
            MatchKind::Ttl(test) => self.ttl(inverted, *test),
            MatchKind::Dscp(value) => self.ask(inverted, Ask::Dscp(*value)),
            MatchKind::Undecided(u) => self.ask(false, Ask::Unknown(Fact::Match(u.module))),
        }
    }

    pub(super) fn ask(&mut self, inverted: bool, ask: Ask) {
        self.done.conditions.push(Condition {
            inverted,
            of_connection: false,
            ask,
        });
    }

    fn ask_connection(&mut self, inverted: bool, ask: Ask) {
        self.done.conditions.push(Condition {
            inverted,
            of_connection: true,
            ask,
        });
    }

    fn fragment(&mut self, inverted: bool) {
        let ask = if self.conntrack_on {
            Ask::False
        } else {
            Ask::Fragment
        };
        self.ask(inverted, ask);
    }

    fn tcp(&mut self, inverted: bool, t: &TcpMatch) {
        self.ports(inverted, protocol::TCP, &t.ports);
        if t.flags_mask != 0 || t.flags_value != 0 || t.flags_inverted {
            self.ask(t.flags_inverted, Ask::TcpFlags(t.flags_mask, t.flags_value));
        }
        if t.option != 0 {
            self.ask(t.option_inverted, Ask::Unknown(Fact::TcpOption));
        }
    }

    /// A bare module still needs its protocol and ports; the range conditions only where they say something.
    fn ports(&mut self, inverted: bool, number: u8, p: &Ports) {
        if inverted {
            // The kernel's modules know no inversion of the whole.
            return self.ask(false, Ask::False);
        }
        self.ask(false, Ask::Protocol(number));
        self.ask(false, Ask::HasPorts);
        self.port_side(p.source_inverted, p.source, Ask::SourcePort(p.source));
        self.port_side(
            p.destination_inverted,
            p.destination,
            Ask::DestinationPort(p.destination),
        );
    }

    fn port_side(&mut self, inverted: bool, range: PortRange, ask: Ask) {
        if inverted || !range.is_any() {
            self.ask(inverted, ask);
        }
    }

    fn icmp(&mut self, inverted: bool, v6: bool, t: IcmpType) {
        let number = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
        self.ask(false, Ask::Protocol(number));
        self.ask(false, Ask::HasIcmp);
        self.ask(inverted, Ask::Icmp(v6, t.kind, t.code_first, t.code_last));
    }

    fn multiport(&mut self, inverted: bool, m: &Multiport) {
        self.ask(false, Ask::PortProtocol);
        self.ask(false, Ask::HasPorts);
        let id = ListId(self.done.port_lists.len() as u32);
        self.done.port_lists.push(m.ports.clone());
        self.ask(inverted, Ask::PortList(m.side, id));
    }

    fn iprange(&mut self, r: &Iprange) {
        if let Some((first, last, inverted)) = r.source {
            self.ask(inverted, Ask::SourceRange(range(first, last)));
        }
        if let Some((first, last, inverted)) = r.destination {
            self.ask(inverted, Ask::DestinationRange(range(first, last)));
        }
    }

    /// A packet without a connection is asked for its state only.
    fn conntrack(&mut self, c: &Conntrack) {
        match c.state {
            Some((states, inverted)) => self.ask(inverted, Ask::CtState(states)),
            None => self.ask(false, Ask::HasConnection),
        }
        if let Some(original) = c.original_direction {
            self.ask_connection(false, Ask::Direction(original));
        }
        if let Some((number, inverted)) = c.protocol {
            self.ask_connection(inverted, Ask::Protocol(number));
        }
        if let Some((p, inverted)) = c.original_source {
            self.ask_connection(inverted, Ask::OriginalSource(MaskedAddress::new(p)));
        }
        if let Some((p, inverted)) = c.original_destination {
            self.ask_connection(inverted, Ask::OriginalDestination(MaskedAddress::new(p)));
        }
        if let Some((range, inverted)) = c.original_source_port {
            self.ask_connection(inverted, Ask::OriginalSourcePort(range));
        }
        if let Some((range, inverted)) = c.original_destination_port {
            self.ask_connection(inverted, Ask::OriginalDestinationPort(range));
        }
        if let Some(rest) = c.rest {
            let options = later_options(self.ruleset.text(rest), self.ruleset.family());
            let at = self.done.later_options.len() as u32;
            self.done.later_options.push(options);
            self.ask_connection(false, Ask::Later(at));
        }
    }

    fn addrtype(&mut self, a: Addrtype) {
        if let Some((types, inverted)) = a.source {
            self.ask(inverted, Ask::SourceType(types, a.limit_in, a.limit_out));
        }
        if let Some((types, inverted)) = a.destination {
            self.ask(
                inverted,
                Ask::DestinationType(types, a.limit_in, a.limit_out),
            );
        }
    }

    fn recent(&mut self, inverted: bool, r: &Recent) {
        let id = self.done.recents.len() as u32;
        self.done.recents.push(RecentAsk {
            list: r.name,
            operation: r.operation,
            by_destination: r.by_destination,
            mask: address_number(r.mask),
            hitcount: r.hitcount,
            seconds: r.seconds,
            reap: r.reap,
            same_ttl: r.rttl,
        });
        self.ask(inverted, Ask::Recent(id));
    }

    fn set(&mut self, inverted: bool, s: &SetMatch) {
        let known =
            self.node.ipsets.as_ref().is_some_and(|sets| {
                sets.contains_key(self.ruleset.text(s.name)) && s.rest.is_none()
            });
        if !known {
            return self.ask(inverted, Ask::Unknown(Fact::IpSet(s.name)));
        }
        let id = self.done.sets.len() as u32;
        self.done.sets.push(*s);
        self.ask(inverted, Ask::Set(id));
    }

    fn ttl(&mut self, inverted: bool, test: TtlTest) {
        let ask = match test {
            TtlTest::Equal(n) => Ask::Ttl(n, n),
            TtlTest::Less(0) | TtlTest::Greater(255) => Ask::False,
            TtlTest::Less(n) => Ask::Ttl(0, n - 1),
            TtlTest::Greater(n) => Ask::Ttl(n + 1, 255),
        };
        self.ask(inverted, ask);
    }
}

/// `-m state` knows the states only.
fn without_nat_flags(states: CtStates) -> CtStates {
    let kept = CtState::ALL.into_iter().filter(|s| states.contains(*s));
    kept.fold(CtStates::default(), |set, s| set.with(CtStates::of(s)))
}

fn range(first: IpAddr, last: IpAddr) -> AddressRange {
    AddressRange {
        first: address_number(first),
        last: address_number(last),
    }
}
