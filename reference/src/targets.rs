//! What the target of a rule that matched does.

use crate::Walk;
use crate::assumption::Assumption;
use crate::probability::Chance;
use crate::state::{Address, Device, Event, Frame, Pending, State};
use crate::walk::Stop;
use kpclass_ruleset::decision::{Disposition, Fact, MAX_NAT_CHOICES, Nat, Snat};
use kpclass_ruleset::node::MissingChains;
use kpclass_ruleset::target::{ConnmarkOp, Extension, MarkSet, NatRange, Target};
use kpclass_ruleset::value::{CtState, Family, Prefix, address_number, number_address};
use kpclass_ruleset::{ChainId, Hook, RuleId, TableId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// kube-proxy's masquerade mark.
const MASQUERADE_MARK: u32 = 0x4000;
/// kubelet's drop mark, of old.
const DROP_MARK: u32 = 0x8000;

impl Walk<'_> {
    /// Does what the target of `rule`, which stands in `frame`, does. The walk already stands behind the rule.
    pub(crate) fn apply(
        &self,
        state: &mut State<'_>,
        rule: RuleId,
        frame: Frame,
        target: &Target,
    ) -> Option<Stop> {
        match target {
            Target::Jump(to) => return self.jump(state, rule, *to),
            Target::Goto(to) => return self.goto(state, rule, *to),
            Target::Return => {
                state.record(Some(rule), Event::Return);
                return self.end_of_chain(state);
            }
            Target::Undecided(extension) => {
                return Some(Stop::End(
                    state.unknown(Some(rule), Fact::Target(extension.name)),
                ));
            }
            Target::Drop => return end(state, rule, Disposition::Drop),
            Target::Reject(with) => return end(state, rule, Disposition::Reject(*with)),
            Target::Dnat(range) => return self.rewrite_destination(state, rule, range, None),
            Target::Redirect(_) if !is_destination_hook(state) => {
                return nat_unknown(state, rule, Fact::NatHook);
            }
            Target::Redirect(range) => {
                let Some(to) = self.redirect_address(state) else {
                    return end(state, rule, Disposition::Drop);
                };
                return self.rewrite_destination(state, rule, range, Some(to));
            }
            Target::Snat(range) => return rewrite_source(state, rule, to_source(range), range),
            Target::Masquerade(range) => {
                return rewrite_source(state, rule, Snat::Masquerade, range);
            }
            Target::Netmap(to) => return self.netmap(state, rule, to),
            Target::Accept => {
                state.record(Some(rule), Event::End);
                state.leave_table();
                return None;
            }
            _ => {}
        }
        state.record(Some(rule), Event::Pass);
        match target {
            Target::Mark(set) => self.mark(state, rule, frame, *set),
            Target::Connmark(operation) => connmark(state, *operation),
            Target::Notrack => notrack(state),
            Target::Rewrite(extension) => self.rewrite_header(state, extension),
            Target::SetChange(_) => state.sets_changed = true,
            _ => {}
        }
        None
    }

    fn jump(&self, state: &mut State<'_>, rule: RuleId, to: ChainId) -> Option<Stop> {
        state.record(Some(rule), Event::Jump(to));
        if !self.ruleset.chain(to).declared {
            return self.missing_chain(state, rule, to, false);
        }
        state.stack.extend(state.frame);
        state.frame = Some(self.frame(to, Some(rule)));
        None
    }

    /// Sentence 3.3, corpus `goto-returns-to-the-caller-of-the-chain-that-did-it`.
    fn goto(&self, state: &mut State<'_>, rule: RuleId, to: ChainId) -> Option<Stop> {
        state.record(Some(rule), Event::Goto(to));
        if !self.ruleset.chain(to).declared {
            return self.missing_chain(state, rule, to, true);
        }
        state.frame = Some(self.frame(to, Some(rule)));
        None
    }

    /// Sentence 3.6, corpus `unknowns.toml`, tests `assumptions::…`.
    fn missing_chain(
        &self,
        state: &mut State<'_>,
        rule: RuleId,
        chain: ChainId,
        gone: bool,
    ) -> Option<Stop> {
        let name = self.ruleset.chain_name(chain);
        match name {
            "KUBE-MARK-MASQ" if state.table == TableId::Nat => {
                state.mark |= MASQUERADE_MARK;
                state.marked_by = Some(rule);
                state.assume(Assumption::MarkMasq);
            }
            "KUBE-MARK-DROP" if state.table == TableId::Nat => {
                state.mark |= DROP_MARK;
                state.marked_by = Some(rule);
                state.assume(Assumption::MarkDrop);
            }
            "KUBE-POSTROUTING" if state.table == TableId::Nat => {
                state.assume(Assumption::KubePostrouting);
                if state.mark & MASQUERADE_MARK != 0 {
                    state.mark ^= MASQUERADE_MARK;
                    return rewrite_source(state, rule, Snat::Masquerade, &KUBE_MASQUERADE);
                }
            }
            _ if name.starts_with("KUBE-")
                || self.node.missing_chains == MissingChains::Unknown =>
            {
                return Some(Stop::End(state.unknown(Some(rule), Fact::Chain(chain))));
            }
            _ => state.assume(Assumption::ChainReturns(name.to_owned())),
        }
        if gone { self.end_of_chain(state) } else { None }
    }

    /// The body that nat POSTROUTING is taken to have (3.6); whether it masqueraded.
    pub(crate) fn masquerade_marked(&self, state: &mut State<'_>) -> bool {
        let Some(rule) = state
            .marked_by
            .filter(|_| state.mark & MASQUERADE_MARK != 0)
        else {
            return false;
        };
        state.assume(Assumption::Postrouting);
        state.mark ^= MASQUERADE_MARK;
        state.snat = Some((Snat::Masquerade, rule));
        state.source = Address::ThisNode;
        state.drawn_source_port = drawn_source_port(state, &KUBE_MASQUERADE);
        true
    }

    /// `MARK`, and who is named for it ([`kpclass_ruleset::decision::Decision::marked_by`]).
    fn mark(&self, state: &mut State<'_>, rule: RuleId, frame: Frame, set: MarkSet) {
        state.mark = set.apply(state.mark);
        if set.value & set.mask != 0 {
            let in_mark_chain = matches!(
                self.ruleset.chain_name(frame.chain),
                "KUBE-MARK-MASQ" | "KUBE-MARK-DROP"
            );
            state.marked_by = frame.entered_by.filter(|_| in_mark_chain).or(Some(rule));
        }
    }

    fn rewrite_header(&self, state: &mut State<'_>, target: &Extension) {
        match self.ruleset.text(target.name) {
            "TTL" | "HL" => state.ttl_rewritten = true,
            _ => state.dscp_rewritten = true,
        }
    }

    /// DNAT and REDIRECT (section 6). `to` is the redirect's address; `None`: the range's.
    fn rewrite_destination(
        &self,
        state: &mut State<'_>,
        rule: RuleId,
        range: &NatRange,
        to: Option<Address>,
    ) -> Option<Stop> {
        if !is_destination_hook(state) {
            return nat_unknown(state, rule, Fact::NatHook);
        }
        if is_port_drawn(state, range) {
            return nat_unknown(state, rule, Fact::NatAddress);
        }
        let address = match (to, range.addresses) {
            (Some(to), _) => to,
            (None, None) => state.destination,
            (None, Some((first, last))) if first == last => Address::Known(first),
            (None, Some((first, last))) => return draw_address(state, rule, first, last),
        };
        set_destination(state, rule, range, address);
        None
    }

    /// A draw for the next address of a range, or its choice (5.2), corpus `a-nat-range-is-drawn-address-by-address`.
    pub(crate) fn next_candidate(&self, state: &mut State<'_>) -> Option<Stop> {
        let Some(Pending::NatAddress {
            rule,
            candidate,
            last,
            chosen,
        }) = state.pending
        else {
            return None;
        };
        if !chosen && candidate < last {
            let of = u32::try_from(last - candidate + 1).unwrap_or(u32::MAX);
            return Some(Stop::Draw(Chance { hits: 1, of }));
        }
        state.pending = None;
        if let Target::Dnat(range) = &self.ruleset.rule(rule).target {
            let address = number_address(state.packet.family(), candidate);
            set_destination(state, rule, range, Address::Known(address));
        }
        None
    }

    /// `REDIRECT`'s address, corpus `redirect-…`; `None`: the device has none, and the packet is dropped.
    fn redirect_address(&self, state: &State<'_>) -> Option<Address> {
        let family = state.packet.family();
        if state.hook == Hook::Output {
            return Some(Address::Known(match family {
                Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
                Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            }));
        }
        let (Some(local), Device::Known(arrival)) = (&self.node.local, state.arrival) else {
            return Some(Address::ThisNode);
        };
        let first = local.devices.iter().find(|(device, a)| {
            *device == arrival && Family::of(*a) == family && is_in_scope(*a, state.destination)
        });
        match first {
            Some((_, address)) => Some(Address::Known(*address)),
            None if self.every_device_is_known => None,
            None => Some(Address::ThisNode),
        }
    }

    fn netmap(&self, state: &mut State<'_>, rule: RuleId, to: &Prefix) -> Option<Stop> {
        if is_destination_hook(state) {
            let address = match state.destination {
                Address::Known(d) => Address::Known(map_network(d, to)),
                Address::ThisNode => Address::ThisNode,
            };
            set_destination(state, rule, &NatRange::default(), address);
            return None;
        }
        let mapped = match state.source {
            Address::Known(s) => map_network(s, to),
            Address::ThisNode => to.address(),
        };
        rewrite_source(state, rule, Snat::Netmap(mapped), &NatRange::default())
    }
}

/// Whether a redirect of what goes to a link-local destination may take the address (`nf_nat_redirect_ipv6_usable`).
fn is_in_scope(address: IpAddr, destination: Address) -> bool {
    let is_link_local = |a: IpAddr| match a {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.is_unicast_link_local() || a.segments()[0] & 0xff0f == 0xff02,
    };
    let Address::Known(destination) = destination else {
        return true;
    };
    !is_link_local(destination) || is_link_local(address)
}

fn end(state: &mut State<'_>, rule: RuleId, disposition: Disposition) -> Option<Stop> {
    state.record(Some(rule), Event::End);
    Some(Stop::End(state.decision(disposition, Some(rule))))
}

fn connmark(state: &mut State<'_>, operation: ConnmarkOp) {
    if !state.has_connection() {
        return;
    }
    match operation {
        ConnmarkOp::Set(set) => state.connmark = set.apply(state.connmark),
        ConnmarkOp::Save { nfmask, ctmask } => {
            state.connmark = (state.connmark & !ctmask) ^ (state.mark & nfmask);
        }
        ConnmarkOp::Restore { nfmask, ctmask } => {
            state.mark = (state.mark & !nfmask) ^ (state.connmark & ctmask);
        }
    }
}

/// Sentence 1.2, corpus `notrack-skips-nat`.
fn notrack(state: &mut State<'_>) {
    if state.table == TableId::Raw && (!state.lo_leg || state.ctstate == CtState::Invalid) {
        state.ctstate = CtState::Untracked;
        state.is_untracked_by_rule = true;
    }
}

/// Sentence 1.6.
fn is_destination_hook(state: &State<'_>) -> bool {
    state.table == TableId::Nat && matches!(state.hook, Hook::Prerouting | Hook::Output)
}

fn is_source_hook(state: &State<'_>) -> bool {
    state.table == TableId::Nat && matches!(state.hook, Hook::Postrouting | Hook::Input)
}

fn nat_unknown(state: &mut State<'_>, rule: RuleId, fact: Fact) -> Option<Stop> {
    Some(Stop::End(state.unknown(Some(rule), fact)))
}

fn draw_address(state: &mut State<'_>, rule: RuleId, first: IpAddr, last: IpAddr) -> Option<Stop> {
    let (first, last) = (address_number(first), address_number(last));
    if last
        .checked_sub(first)
        .is_none_or(|more| more >= MAX_NAT_CHOICES)
    {
        return nat_unknown(state, rule, Fact::NatAddress);
    }
    state.assume(Assumption::NatRange);
    state.pending = Some(Pending::NatAddress {
        rule,
        candidate: first,
        last,
        chosen: false,
    });
    None
}

fn set_destination(state: &mut State<'_>, rule: RuleId, range: &NatRange, address: Address) {
    state.destination = address;
    state.ports = state
        .ports
        .map(|(source, port)| (source, port_after(range, port)));
    let known = match address {
        Address::Known(a) => Some(a),
        Address::ThisNode => None,
    };
    let nat = Nat {
        address: known,
        port: state.ports.map(|(_, port)| port),
    };
    state.dnat = Some((nat, rule));
    state.record(Some(rule), Event::End);
    state.leave_table();
}

/// Whether the kernel draws the new port: `--random` with several to choose from.
fn is_port_drawn(state: &State<'_>, range: &NatRange) -> bool {
    let several = range.ports.is_some_and(|ports| ports.first != ports.last);
    state.ports.is_some()
        && several
        && range.base_port.is_none()
        && (range.random || range.random_fully)
}

/// The port after a DNAT (section 6), corpus `a-port-range-…` and `a-shifted-port-range-…`.
fn port_after(range: &NatRange, port: u16) -> u16 {
    let Some(ports) = range.ports else {
        return port;
    };
    let (first, last) = (ports.first.min(ports.last), ports.first.max(ports.last));
    match range.base_port {
        Some(base) => {
            let size = u32::from(last - first) + 1;
            let offset = u32::from(port.wrapping_sub(base)) % size;
            first.wrapping_add(offset as u16)
        }
        None if (first..=last).contains(&port) => port,
        None => first,
    }
}

fn to_source(range: &NatRange) -> Snat {
    Snat::To {
        addresses: range.addresses,
        ports: range.ports.map(|ports| (ports.first, ports.last)),
    }
}

/// SNAT, MASQUERADE and NETMAP of the source; what the lo leg sees afterwards is section 6's first sentence.
fn rewrite_source(
    state: &mut State<'_>,
    rule: RuleId,
    snat: Snat,
    range: &NatRange,
) -> Option<Stop> {
    if !is_source_hook(state) {
        return nat_unknown(state, rule, Fact::NatHook);
    }
    state.snat = Some((snat, rule));
    state.drawn_source_port = drawn_source_port(state, range);
    state.source = match snat {
        Snat::To {
            addresses: None, ..
        } => state.source,
        Snat::To {
            addresses: Some((first, last)),
            ..
        } if first == last => Address::Known(first),
        Snat::Netmap(mapped) => Address::Known(mapped),
        Snat::To { .. } | Snat::Masquerade => Address::ThisNode,
    };
    state.record(Some(rule), Event::End);
    state.leave_table();
    None
}

/// `MASQUERADE --random-fully`, as kube-proxy has it.
const KUBE_MASQUERADE: NatRange = NatRange {
    addresses: None,
    ports: None,
    base_port: None,
    random: false,
    random_fully: true,
    persistent: false,
};

/// The ports of which SNAT and MASQUERADE take one, where they do not keep the packet's (section 6).
fn drawn_source_port(state: &State<'_>, range: &NatRange) -> Option<(u16, u16)> {
    let (own, _) = state.ports?;
    let is_random = range.random || range.random_fully;
    let ports = range.ports.map(|ports| (ports.first, ports.last));
    match ports.map(|(a, b)| (a.min(b), a.max(b))) {
        Some((first, last)) if !is_random && (first..=last).contains(&own) => None,
        Some(drawn) => Some(drawn),
        None if !is_random => None,
        None if own < 512 => Some((1, 511)),
        None if own < 1024 => Some((600, 1023)),
        None => Some((1024, u16::MAX)),
    }
}

/// The network part of `to`, the host part of `address`.
fn map_network(address: IpAddr, to: &Prefix) -> IpAddr {
    let family = Family::of(address);
    if family != to.family() {
        return address;
    }
    let mask = address_number(to.mask());
    number_address(
        family,
        (address_number(address) & !mask) | address_number(to.address()),
    )
}
