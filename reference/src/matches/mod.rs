//! The matches, one short function each (WALK.md 6 and the types in `kpclass_ruleset::matches`).

mod addrtype;
mod connection;
mod recent;
mod sets;
mod transport;

pub(crate) use recent::recent;

use crate::Walk;
use crate::state::{Address, Device, State};
use crate::truth::Truth;
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{Iprange, MarkTest, MatchKind, TtlTest};
use kpclass_ruleset::value::{Interface, InterfacePattern, PortRange, Prefix, address_number};
use std::net::IpAddr;

/// Whether asking it has an effect, so that it may be asked only where the kernel would.
pub(crate) fn has_effect(kind: &MatchKind) -> bool {
    matches!(kind, MatchKind::Statistic(_) | MatchKind::Recent(_))
}

/// Asks a match without effects. Its own inversion is the caller's; inversions of single options are asked here.
pub(crate) fn ask(walk: &Walk<'_>, state: &mut State<'_>, kind: &MatchKind) -> Truth {
    let packet = state.packet;
    match kind {
        MatchKind::Source(prefix) => inside(state.source, prefix),
        MatchKind::Destination(prefix) => inside(state.destination, prefix),
        MatchKind::InInterface(pattern) => device(pattern, state.arrival, Fact::InInterface),
        MatchKind::OutInterface(pattern) => {
            let out = out_device(walk, state);
            device(pattern, out, Fact::OutInterface)
        }
        MatchKind::Protocol(number) => Truth::of(packet.protocol == *number),
        MatchKind::Fragment => Truth::of(packet.fragment && !walk.conntrack),
        MatchKind::Comment(_) | MatchKind::Nfacct(_) => Truth::True,
        MatchKind::Tcp(tcp) => transport::tcp(state, tcp),
        MatchKind::Udp(ports) => transport::udp(state, ports),
        MatchKind::Sctp(ports) => transport::sctp(state, ports),
        MatchKind::Dccp(ports) => transport::dccp(state, ports),
        MatchKind::Icmp(icmp) => transport::icmp(state, *icmp),
        MatchKind::Icmpv6(icmp) => transport::icmpv6(state, *icmp),
        MatchKind::Multiport(multiport) => transport::multiport(state, multiport),
        MatchKind::Iprange(range) => iprange(state, range),
        MatchKind::Mark(test) => Truth::of(is_marked(state.mark, *test)),
        MatchKind::Connmark(test) => connection::connmark(state, *test),
        MatchKind::Conntrack(conntrack) => connection::conntrack(walk, state, conntrack),
        MatchKind::State(states) => Truth::of(states.contains(state.ctstate())),
        MatchKind::Addrtype(types) => addrtype::addrtype(walk, state, types),
        MatchKind::Set(set) => sets::set(walk, state, set),
        MatchKind::Mac(address) => mac(state, *address),
        MatchKind::Length(range) => length(state, *range),
        MatchKind::Ttl(test) => ttl(state, *test),
        MatchKind::Dscp(value) => dscp(state, *value),
        MatchKind::Undecided(undecided) => Truth::Unknown(Fact::Match(undecided.module)),
        // These two have effects and are asked by the walk itself.
        MatchKind::Statistic(_) | MatchKind::Recent(_) => Truth::Void,
    }
}

/// Whether an address is inside.
#[inline]
pub(crate) fn inside(address: Address, prefix: &Prefix) -> Truth {
    match address {
        Address::Known(a) => Truth::of(prefix.contains(a)),
        Address::ThisNode => Truth::Unknown(Fact::LocalAddresses),
    }
}

/// Corpus `headers.toml`.
fn device(pattern: &InterfacePattern, device: Device, fact: Fact) -> Truth {
    let any = pattern.prefix && pattern.name == Interface::none();
    let lo = !pattern.prefix && pattern.name == Interface::lo();
    match device {
        _ if any => Truth::True,
        Device::Known(interface) => Truth::of(pattern.matches(interface)),
        Device::NotLo if lo => Truth::False,
        Device::NotLo => Truth::Unknown(fact),
    }
}

/// The device that `-o` sees. At OUTPUT it is the first route's, whatever nat has made of the destination since.
fn out_device(walk: &Walk<'_>, state: &mut State<'_>) -> Device {
    let destination = match state.hook {
        Hook::Prerouting | Hook::Input => return Device::Known(Interface::none()),
        Hook::Output => Address::Known(state.packet.destination),
        Hook::Forward | Hook::Postrouting => state.destination,
    };
    if walk.leaves_by_lo(state, destination) {
        Device::Known(Interface::lo())
    } else {
        Device::NotLo
    }
}

fn iprange(state: &State<'_>, range: &Iprange) -> Truth {
    let side = |side: &Option<(IpAddr, IpAddr, bool)>, address| {
        side.map_or(Truth::True, |(first, last, inverted)| {
            between(address, first, last).inverted(inverted)
        })
    };
    side(&range.source, state.source).and(side(&range.destination, state.destination))
}

fn between(address: Address, first: IpAddr, last: IpAddr) -> Truth {
    match address {
        Address::Known(a) => Truth::of(is_between(a, first, last)),
        Address::ThisNode => Truth::Unknown(Fact::LocalAddresses),
    }
}

/// Both ends included; an address of another family is not between.
fn is_between(address: IpAddr, first: IpAddr, last: IpAddr) -> bool {
    let number = address_number(address);
    address.is_ipv4() == first.is_ipv4()
        && address.is_ipv4() == last.is_ipv4()
        && (address_number(first)..=address_number(last)).contains(&number)
}

fn is_marked(mark: u32, test: MarkTest) -> bool {
    mark & test.mask == test.value
}

/// Corpus `mac-is-false-of-what-this-node-sends-whatever-its-inversion`.
fn mac(state: &State<'_>, address: [u8; 6]) -> Truth {
    if state.is_sent() || state.arrival == Device::Known(Interface::lo()) {
        return Truth::Void;
    }
    match state.packet.source_mac {
        Some(source) => Truth::of(source == address),
        None => Truth::Unknown(Fact::Mac),
    }
}

fn length(state: &State<'_>, range: PortRange) -> Truth {
    match state.packet.length {
        Some(length) => Truth::of(range.contains(length)),
        None => Truth::Unknown(Fact::Length),
    }
}

/// Corpus `ttl-is-one-less-behind-routing`.
fn ttl(state: &State<'_>, test: TtlTest) -> Truth {
    if matches!(test, TtlTest::Less(0) | TtlTest::Greater(255)) {
        return Truth::False;
    }
    let Some(arrived) = state.packet.ttl.filter(|_| !state.ttl_rewritten) else {
        return Truth::Unknown(Fact::Ttl);
    };
    let forwarded = !state.is_sent() && matches!(state.hook, Hook::Forward | Hook::Postrouting);
    let ttl = arrived.saturating_sub(u8::from(forwarded));
    Truth::of(match test {
        TtlTest::Equal(n) => ttl == n,
        TtlTest::Less(n) => ttl < n,
        TtlTest::Greater(n) => ttl > n,
    })
}

fn dscp(state: &State<'_>, value: u8) -> Truth {
    match state.packet.dscp.filter(|_| !state.dscp_rewritten) {
        Some(dscp) => Truth::of(dscp == value),
        None => Truth::Unknown(Fact::Dscp),
    }
}
