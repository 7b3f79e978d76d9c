//! addrtype: what kind of address it is, as the routing table would say.

use crate::Walk;
use crate::matches::out_device;
use crate::state::{Address, Device, State};
use crate::traversal::is_multicast;
use crate::truth::Truth;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{AddressTypes, Addrtype};
use kpclass_ruleset::node::is_loopback;
use kpclass_ruleset::value::Interface;
use std::net::{IpAddr, Ipv4Addr};

/// What an address is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Local,
    Broadcast,
    Multicast,
    Unicast,
    /// LOCAL or UNICAST; which, this fact would tell.
    LocalOrUnicast(Fact),
}

/// ANYCAST, BLACKHOLE, UNREACHABLE, PROHIBIT, THROW, NAT, XRESOLVE: only routes tell.
const OF_ROUTES: AddressTypes = AddressTypes(0xfd0);
/// The broadcast address of 127.0.0.1/8, which `lo` has.
const LOOPBACK_BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255));
const UNSPEC: AddressTypes = AddressTypes(1);
/// ANYCAST, UNREACHABLE, PROHIBIT: what an IPv6 lookup is made for, beside LOCAL.
const OF_IPV6_LOOKUP: AddressTypes = AddressTypes(1 << 4 | 1 << 7 | 1 << 8);

/// `-m addrtype`, corpus `addrtype.toml`.
pub(super) fn addrtype(walk: &Walk<'_>, state: &mut State<'_>, types: &Addrtype) -> Truth {
    let limit = match (types.limit_in, types.limit_out) {
        (true, _) => Some((state.arrival, Fact::LocalAddresses)),
        (_, true) => Some((out_device(walk, state), Fact::OutInterface)),
        _ => None,
    };
    let side = |side: Option<(AddressTypes, bool)>, address: Address| {
        side.map_or(Truth::True, |(set, inverted)| {
            is_of(set, walk, address, limit).inverted(inverted)
        })
    };
    side(types.source, state.source).and(side(types.destination, state.destination))
}

fn is_of(
    set: AddressTypes,
    walk: &Walk<'_>,
    address: Address,
    limit: Option<(Device, Fact)>,
) -> Truth {
    let found = find(walk, address, limit);
    match address {
        Address::Known(IpAddr::V6(a)) => is_of_ipv6(set, a.is_unspecified(), found),
        Address::ThisNode if walk.ruleset.family() == kpclass_ruleset::value::Family::V6 => {
            is_of_ipv6(set, false, found)
        }
        _ => is_of_ipv4(set, found),
    }
}

fn is_of_ipv4(set: AddressTypes, found: Found) -> Truth {
    let holds = |one| Truth::of(set.intersects(one));
    match found {
        Found::Local => holds(AddressTypes::LOCAL),
        Found::Broadcast => holds(AddressTypes::BROADCAST),
        Found::Multicast => holds(AddressTypes::MULTICAST),
        Found::Unicast if set.intersects(AddressTypes::UNICAST) => Truth::True,
        Found::Unicast if set.intersects(OF_ROUTES) => Truth::Unknown(Fact::AddressType),
        Found::Unicast => Truth::False,
        Found::LocalOrUnicast(fact) => {
            let if_local = is_of_ipv4(set, Found::Local);
            let if_unicast = is_of_ipv4(set, Found::Unicast);
            either(if_local, if_unicast, fact)
        }
    }
}

fn is_of_ipv6(set: AddressTypes, unspecified: bool, found: Found) -> Truth {
    let multicast = found == Found::Multicast;
    let excluded = (set.intersects(AddressTypes::MULTICAST) && !multicast)
        || (set.intersects(AddressTypes::UNICAST) && (multicast || unspecified))
        || (set.intersects(UNSPEC) && !unspecified);
    let looks_up = set.intersects(AddressTypes::LOCAL) || set.intersects(OF_IPV6_LOOKUP);
    if excluded || !looks_up {
        return Truth::of(!excluded);
    }
    match found {
        Found::Local => Truth::of(set.intersects(AddressTypes::LOCAL)),
        Found::Unicast if set.intersects(OF_IPV6_LOOKUP) => Truth::Unknown(Fact::AddressType),
        Found::Unicast | Found::Multicast | Found::Broadcast => Truth::False,
        Found::LocalOrUnicast(fact) => {
            let if_local = is_of_ipv6(set, unspecified, Found::Local);
            let if_unicast = is_of_ipv6(set, unspecified, Found::Unicast);
            either(if_local, if_unicast, fact)
        }
    }
}

/// What both answers agree on; else unknown: for want of `fact` where LOCAL is asked for, else of the routes.
fn either(if_local: Truth, if_unicast: Truth, fact: Fact) -> Truth {
    match (if_local, if_unicast) {
        (a, b) if a == b => a,
        (Truth::False, Truth::Unknown(_)) => if_unicast,
        _ => Truth::Unknown(fact),
    }
}

fn find(walk: &Walk<'_>, address: Address, limit: Option<(Device, Fact)>) -> Found {
    let Address::Known(a) = address else {
        return limit.map_or(Found::Local, |(_, fact)| Found::LocalOrUnicast(fact));
    };
    if is_multicast(a) {
        return Found::Multicast;
    }
    if matches!(a, IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST || v4.is_unspecified()) {
        return Found::Broadcast;
    }
    if a == LOOPBACK_BROADCAST {
        let by_lo = |(device, _)| device == Device::Known(Interface::lo());
        return if limit.is_none_or(by_lo) {
            Found::Broadcast
        } else {
            Found::Unicast
        };
    }
    match (walk.node.is_local(a), limit) {
        (Some(false), _) => Found::Unicast,
        (None, _) => Found::LocalOrUnicast(Fact::LocalAddresses),
        (Some(true), None) => Found::Local,
        (Some(true), Some((device, fact))) => match is_held(walk, a, device) {
            Some(true) => Found::Local,
            Some(false) => Found::Unicast,
            None => Found::LocalOrUnicast(fact),
        },
    }
}

/// Whether a local address is `device`'s; `None`: not known.
fn is_held(walk: &Walk<'_>, address: IpAddr, device: Device) -> Option<bool> {
    if is_loopback(address) {
        return Some(device == Device::Known(Interface::lo()));
    }
    let devices = &walk.node.local.as_ref()?.devices;
    let Device::Known(interface) = device else {
        return None;
    };
    if devices.contains(&(interface, address)) {
        return Some(true);
    }
    devices.iter().any(|(_, a)| *a == address).then_some(false)
}
