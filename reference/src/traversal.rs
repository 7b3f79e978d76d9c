//! Hooks and tables in the kernel's order, and the routing between them (WALK.md 1 and 2).

use crate::Walk;
use crate::assumption::Assumption;
use crate::state::{Address, Device, Frame, Lost, State};
use crate::walk::Stop;
use kpclass_ruleset::conntrack::CtStatus;
use kpclass_ruleset::decision::{Decision, Disposition, Fact};
use kpclass_ruleset::node::{is_limited_broadcast, is_loopback};
use kpclass_ruleset::value::{CtState, Interface, protocol};
use kpclass_ruleset::{Hook, TableId};
use std::net::{IpAddr, Ipv4Addr};

/// One leg of the way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leg {
    /// What the IPv6 receiver drops before any table.
    Receive,
    /// A table at a hook.
    Ask(Hook, TableId),
    /// An arriving packet is routed.
    Route,
    /// A sent packet is routed again, if nat gave it another address.
    Reroute,
    /// A sent packet leaves, or comes back on `lo`.
    Leave,
    /// The end.
    End(Disposition),
}

use Hook::{Forward, Input, Output, Postrouting, Prerouting};
use Leg::{Ask, End, Leave, Receive, Reroute, Route};
use TableId::{Filter, Mangle, Nat, Raw, Security};

impl Leg {
    /// Sentence 1.4, test `traversal::tables_in_order`.
    pub(crate) const ARRIVES: &'static [Self] = &[
        Receive,
        Ask(Prerouting, Raw),
        Ask(Prerouting, Mangle),
        Ask(Prerouting, Nat),
        Route,
    ];
    const TO_LOCAL: &'static [Self] = &[
        Ask(Input, Mangle),
        Ask(Input, Filter),
        Ask(Input, Security),
        Ask(Input, Nat),
        End(Disposition::Local),
    ];
    const TO_OTHERS: &'static [Self] = &[
        Ask(Forward, Mangle),
        Ask(Forward, Filter),
        Ask(Forward, Security),
        Ask(Postrouting, Mangle),
        Ask(Postrouting, Nat),
        End(Disposition::Forward),
    ];
    /// Sentence 1.5, test `traversal::tables_in_order`.
    pub(crate) const SENT: &'static [Self] = &[
        Ask(Output, Raw),
        Ask(Output, Mangle),
        Ask(Output, Nat),
        Reroute,
        Ask(Output, Filter),
        Ask(Output, Security),
        Ask(Postrouting, Mangle),
        Ask(Postrouting, Nat),
        Leave,
    ];
    const BY_LO: &'static [Self] = &[
        Ask(Prerouting, Raw),
        Ask(Prerouting, Mangle),
        Ask(Input, Mangle),
        Ask(Input, Filter),
        Ask(Input, Security),
        End(Disposition::Local),
    ];
}

/// Where routing sends an arriving packet.
enum Routed {
    Local,
    Other,
    Dropped,
    Unknown(Fact),
}

impl Walk<'_> {
    /// The next leg of the way.
    pub(crate) fn next_leg(&self, state: &mut State<'_>) -> Option<Stop> {
        let Some((leg, rest)) = state.legs.split_first() else {
            return Some(Stop::End(state.decision(Disposition::Forward, None)));
        };
        state.legs = rest;
        match *leg {
            Receive => {
                let dropped = receiver_drops(
                    state.packet.source,
                    state.packet.destination,
                    came_by_lo(state),
                );
                dropped.then(|| Stop::End(state.decision(Disposition::Drop, None)))
            }
            Ask(hook, table) => self.enter(state, hook, table).map(Stop::End),
            Route => self.take_route(state).map(Stop::End),
            Reroute => self.reroute(state).map(Stop::End),
            Leave => self.leave(state).map(Stop::End),
            End(disposition) => {
                state.confirmed = true;
                Some(Stop::End(state.decision(disposition, None)))
            }
        }
    }

    /// Asks a table at a hook, if the dump has it there (1.8) and, for nat, if it is asked at all (1.3).
    fn enter(&self, state: &mut State<'_>, hook: Hook, table: TableId) -> Option<Decision> {
        state.hook = hook;
        state.table = table;
        if table == Nat && state.is_found_already() {
            return translate(state);
        }
        if table == Nat && !self.is_nat_asked(state) {
            return None;
        }
        if table == Nat
            && hook == Postrouting
            && self.implied_postrouting
            && self.masquerade_marked(state)
        {
            return None;
        }
        state.base = self.ruleset.entry(table, hook);
        state.frame = state.base.map(|chain| self.frame(chain, None));
        None
    }

    /// The beginning of a chain.
    pub(crate) fn frame(
        &self,
        chain: kpclass_ruleset::ChainId,
        entered_by: Option<kpclass_ruleset::RuleId>,
    ) -> Frame {
        let rules = &self.ruleset.chain(chain).rules;
        Frame {
            chain,
            next: rules.start,
            end: rules.end,
            entered_by,
        }
    }

    /// Sentence 1.3, corpus `facts.toml`: facts 1, 2 and 20.
    fn is_nat_asked(&self, state: &State<'_>) -> bool {
        self.conntrack && matches!(state.ctstate, CtState::New | CtState::Related)
    }

    /// Sentence 1.5: out, or back on `lo`.
    fn leave(&self, state: &mut State<'_>) -> Option<Decision> {
        state.confirmed = true;
        if !self.leaves_by_lo(state, state.destination) {
            return Some(state.decision(Disposition::Out, None));
        }
        if let (Address::Known(s), Address::Known(d)) = (state.source, state.destination)
            && receiver_drops(s, d, true)
        {
            return Some(state.decision(Disposition::Drop, None));
        }
        if state.is_joined {
            return Some(state.unknown(None, Fact::Fragments));
        }
        state.lost = state.kept().map(|kept| {
            let decision = state.decision(Disposition::Drop, None);
            Box::new(Lost { decision, kept })
        });
        state.arrival = Device::Known(Interface::lo());
        state.lo_leg = true;
        state.legs = Leg::BY_LO;
        None
    }

    /// Whether a packet that this node sends to `destination` goes to this node, as routing takes it.
    pub(crate) fn leaves_by_lo(&self, state: &mut State<'_>, destination: Address) -> bool {
        if !state.is_sent() {
            return false;
        }
        match destination {
            Address::ThisNode => true,
            Address::Known(d) => {
                !is_multicast(d) && !is_limited_broadcast(d) && self.is_taken_as_local(state, d)
            }
        }
    }

    /// Sentence 1.5: behind nat OUTPUT a packet with another destination needs a route again, which it does not get from loopback to another host
    /// (`ip_route_me_harder`).
    fn reroute(&self, state: &mut State<'_>) -> Option<Decision> {
        const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
        let (Address::Known(destination), IpAddr::V4(source)) =
            (state.destination, state.packet.source)
        else {
            return None;
        };
        if destination == state.packet.destination
            || !source.is_loopback()
            // No address of a host: the route is asked for without it.
            || source == LOOPBACK_BROADCAST
            || self.leaves_by_lo(state, state.destination)
        {
            return None;
        }
        match self.node.route_localnet {
            Some(true) => None,
            Some(false) => Some(state.decision(Disposition::Drop, None)),
            None => {
                state.assume(Assumption::RouteLocalnet);
                None
            }
        }
    }

    fn take_route(&self, state: &mut State<'_>) -> Option<Decision> {
        match self.route(state) {
            Routed::Local => state.legs = Leg::TO_LOCAL,
            Routed::Other => state.legs = Leg::TO_OTHERS,
            Routed::Dropped => return Some(state.decision(Disposition::Drop, None)),
            Routed::Unknown(fact) => return Some(state.unknown(None, fact)),
        }
        None
    }

    /// Section 2, corpus `routing.toml`.
    fn route(&self, state: &mut State<'_>) -> Routed {
        let Address::Known(destination) = state.destination else {
            return Routed::Local;
        };
        if let (IpAddr::V4(s), IpAddr::V4(d)) = (state.packet.source, destination)
            && let Some(routed) = self.route_oddities(state, s, d)
        {
            return routed;
        }
        if is_multicast(destination) {
            return self.route_multicast(destination);
        }
        let ipv6_loopback = destination.is_ipv6() && is_loopback(destination);
        if ipv6_loopback && !came_by_lo(state) {
            return Routed::Dropped;
        }
        if self.is_taken_as_local(state, destination) {
            Routed::Local
        } else if stays_on_its_link(state.packet.source) {
            Routed::Dropped
        } else {
            Routed::Other
        }
    }

    /// Sentences 2.1 to 2.5; `None`: none of them applies.
    fn route_oddities(&self, state: &State<'_>, s: Ipv4Addr, d: Ipv4Addr) -> Option<Routed> {
        if s.is_multicast() || s.is_broadcast() || self.pretends_to_be_this_node(state, s) {
            return Some(Routed::Dropped);
        }
        if d.is_broadcast() || (s.is_unspecified() && d.is_unspecified()) {
            return Some(Routed::Local);
        }
        let link_local_group = d.octets()[..3] == [224, 0, 0];
        let joins = link_local_group || (d.is_multicast() && state.packet.protocol == IGMP);
        if (s.is_unspecified() && !joins) || d.is_unspecified() {
            return Some(Routed::Dropped);
        }
        if came_by_lo(state) || !(d.is_loopback() || s.is_loopback()) {
            return None;
        }
        match self.node.route_localnet {
            Some(true) => None,
            Some(false) => Some(Routed::Dropped),
            None => Some(Routed::Unknown(Fact::RouteLocalnet)),
        }
    }

    /// Sentence 2.2: an address that a device has, 127.0.0.1 among them, though not all of 127.0.0.0/8.
    fn pretends_to_be_this_node(&self, state: &State<'_>, source: Ipv4Addr) -> bool {
        let local = self.node.local.as_ref();
        !came_by_lo(state)
            && (source == Ipv4Addr::LOCALHOST
                || local.is_some_and(|local| local.addresses.contains(&source.into())))
    }

    fn route_multicast(&self, group: IpAddr) -> Routed {
        let all_nodes = match group {
            IpAddr::V4(a) => a.octets() == [224, 0, 0, 1],
            IpAddr::V6(a) => matches!(a.segments(), [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1]),
        };
        if all_nodes || self.node.is_local(group) == Some(true) {
            Routed::Local
        } else {
            Routed::Unknown(Fact::MulticastGroup)
        }
    }

    /// Sentence 2.7, with its assumption.
    fn is_taken_as_local(&self, state: &mut State<'_>, address: IpAddr) -> bool {
        self.node.is_local(address).unwrap_or_else(|| {
            state.assume(Assumption::NoLocalAddresses);
            false
        })
    }
}

/// A packet of a connection that is found already, in nat's place (CONNTRACK.md 5.2). A redirect about one that nat has changed is dropped (6.2).
fn translate(state: &mut State<'_>) -> Option<Decision> {
    let connection = state.connection()?;
    let later = connection.later?;
    let is_changed = connection
        .status
        .intersects(CtStatus::DNAT.with(CtStatus::SNAT));
    let is_redirect =
        state.packet.protocol == protocol::ICMP && matches!(state.packet.icmp, Some((5, _)));
    if is_redirect && is_changed {
        return Some(state.decision(Disposition::Drop, None));
    }
    match state.hook {
        Prerouting | Output => {
            if let Some((address, part)) = later.destination {
                state.destination = address;
                state.ports = state.ports.map(|(from, to)| (from, part.unwrap_or(to)));
            }
        }
        Input | Postrouting => {
            if let Some((address, part)) = later.source {
                state.source = address;
                state.ports = state.ports.map(|(from, to)| (part.unwrap_or(from), to));
                state.drawn_source_port = part.is_none().then_some((0, u16::MAX));
            }
        }
        Forward => {}
    }
    None
}

const IGMP: u8 = 2;

fn came_by_lo(state: &State<'_>) -> bool {
    state.arrival == Device::Known(Interface::lo())
}

/// `::` and fe80::/10: what comes from there is not forwarded (`ip6_forward`).
fn stays_on_its_link(source: IpAddr) -> bool {
    matches!(source, IpAddr::V6(a) if a.is_unspecified() || a.is_unicast_link_local())
}

/// 224.0.0.0/4 or ff00::/8.
pub(crate) fn is_multicast(address: IpAddr) -> bool {
    address.is_multicast()
}

/// What `ip6_rcv_core` drops before any table (section 2, IPv6), corpus `ipv6-drops-before-any-table`.
fn receiver_drops(source: IpAddr, destination: IpAddr, by_lo: bool) -> bool {
    let (IpAddr::V6(s), IpAddr::V6(d)) = (source, destination) else {
        return false;
    };
    let scope = d.is_multicast().then(|| d.segments()[0] & 0xf);
    s.is_multicast()
        || scope == Some(0)
        || (!by_lo && (scope == Some(1) || s.is_loopback() || d.is_loopback()))
}
