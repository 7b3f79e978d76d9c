//! What kind of address an address is: for `addrtype`, and for routing (WALK.md 2 and 6).

use crate::machine::POSITION;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::AddressTypes;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::value::{Family, Interface, address_number, protocol};

/// What routing sees in an address, apart from whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// An ordinary one.
    Unicast,
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 0.0.0.0/8 but not 0.0.0.0.
    ZeroNet,
    /// 0.0.0.0, ::.
    Zero,
    /// 255.255.255.255.
    Broadcast,
    /// 224.0.0.1, ff02::1, ff01::1: every node listens.
    AllHosts,
    /// 224.0.0.0/24 but for 224.0.0.1.
    LinkMulticast,
    /// Other multicast.
    Multicast,
}

/// The node's own addresses of one family, as numbers: a packet asks up to three times.
#[derive(Clone, Debug)]
pub(crate) struct Locals {
    family: Family,
    /// Ascending; `None`: not given.
    numbers: Option<Vec<u128>>,
    /// Each device with its first address.
    devices: Vec<(Interface, u128)>,
}

/// Up to this many addresses are compared one by one.
const FEW: usize = 8;

impl Locals {
    pub(crate) fn new(node: &NodeFacts, family: Family) -> Self {
        let numbers = node.local.as_ref().map(|local| {
            let of_family = local.addresses.iter().filter(|a| Family::of(**a) == family);
            let mut numbers: Vec<u128> = of_family.map(|a| address_number(*a)).collect();
            numbers.sort_unstable();
            numbers
        });
        let devices = first_addresses(node, family);
        Self {
            family,
            numbers,
            devices,
        }
    }

    /// Each device with its first address, as far as a walk can count them.
    pub(crate) fn devices(&self) -> &[(Interface, u128)] {
        &self.devices
    }

    /// [`NodeFacts::is_local`].
    #[inline]
    pub(crate) fn contains(&self, address: u128) -> Option<bool> {
        let loopback = match self.family {
            Family::V4 => address >> 24 == 127,
            Family::V6 => address == 1,
        };
        if loopback {
            return Some(true);
        }
        self.numbers.as_ref().map(|numbers| {
            if numbers.len() <= FEW {
                numbers.contains(&address)
            } else {
                numbers.binary_search(&address).is_ok()
            }
        })
    }

    /// Whether a packet that this node sends there goes by `lo`: a group's or the broadcast address is never taken as its own.
    #[inline]
    pub(crate) fn leads_to_lo(&self, address: u128) -> bool {
        let ordinary = matches!(
            kind(self.family, address),
            Kind::Unicast | Kind::Loopback | Kind::Zero | Kind::ZeroNet
        );
        ordinary && self.contains(address) == Some(true)
    }
}

fn first_addresses(node: &NodeFacts, family: Family) -> Vec<(Interface, u128)> {
    let mut devices: Vec<(Interface, u128)> = Vec::new();
    for (device, address) in node.local.iter().flat_map(|local| &local.devices) {
        let is_new =
            devices.len() < usize::from(POSITION) && devices.iter().all(|(d, _)| d != device);
        if is_new && Family::of(*address) == family {
            devices.push((*device, address_number(*address)));
        }
    }
    devices
}

/// An address as routing and `addrtype` tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nature {
    pub(crate) kind: Kind,
    /// Whether it is this node's.
    pub(crate) local: Option<bool>,
}

pub(crate) fn kind(family: Family, address: u128) -> Kind {
    match family {
        Family::V4 => kind4(address as u32),
        Family::V6 => kind6(address),
    }
}

fn kind4(address: u32) -> Kind {
    match address.to_be_bytes() {
        [0, 0, 0, 0] => Kind::Zero,
        [0, ..] => Kind::ZeroNet,
        [127, ..] => Kind::Loopback,
        [224, 0, 0, 1] => Kind::AllHosts,
        [224, 0, 0, _] => Kind::LinkMulticast,
        [224..=239, ..] => Kind::Multicast,
        [255, 255, 255, 255] => Kind::Broadcast,
        _ => Kind::Unicast,
    }
}

const FF01_1: u128 = 0xff01 << 112 | 1;
const FF02_1: u128 = 0xff02 << 112 | 1;

fn kind6(address: u128) -> Kind {
    match address {
        0 => Kind::Zero,
        1 => Kind::Loopback,
        FF01_1 | FF02_1 => Kind::AllHosts,
        _ if address >> 120 == 0xff => Kind::Multicast,
        _ => Kind::Unicast,
    }
}

#[inline]
pub(crate) fn nature(locals: &Locals, family: Family, address: u128) -> Nature {
    Nature {
        kind: kind(family, address),
        local: locals.contains(address),
    }
}

/// 127.0.0.1 or ::1.
pub(crate) fn loopback(family: Family) -> u128 {
    match family {
        Family::V4 => 0x7f00_0001,
        Family::V6 => 1,
    }
}

/// Whether a protocol's header begins with two ports.
pub(crate) fn has_port_field(number: u8) -> bool {
    matches!(
        number,
        protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP
    )
}

/// Where routing sends an arrived packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Dropped,
    Local,
    Forward,
    Unknown(Fact),
}

/// WALK.md 2, after nat PREROUTING. Between ordinary addresses only whose they are decides.
#[inline]
pub(crate) fn route(
    locals: &Locals,
    node: &NodeFacts,
    family: Family,
    number: u8,
    source: u128,
    destination: u128,
    by_lo: bool,
) -> Route {
    let ordinary = |address: u128| {
        let first = address >> 24;
        first != 0 && first != 127 && first < 224
    };
    if family == Family::V4 && ordinary(source) && ordinary(destination) {
        return match locals.contains(destination) {
            _ if !by_lo && locals.contains(source) == Some(true) => Route::Dropped,
            Some(true) => Route::Local,
            _ => Route::Forward,
        };
    }
    route_any(locals, node, family, number, source, destination, by_lo)
}

fn route_any(
    locals: &Locals,
    node: &NodeFacts,
    family: Family,
    number: u8,
    source: u128,
    destination: u128,
    by_lo: bool,
) -> Route {
    let (s, d) = (
        nature(locals, family, source),
        nature(locals, family, destination),
    );
    let v4 = match family {
        Family::V4 => route4(node, number, s, d, by_lo),
        // Before DNAT ::1 was refused already.
        Family::V6 if d.kind == Kind::Loopback && !by_lo => Some(Route::Dropped),
        Family::V6 => None,
    };
    if let Some(route) = v4 {
        return route;
    }
    match d.kind {
        Kind::AllHosts => return Route::Local,
        Kind::Multicast | Kind::LinkMulticast if d.local == Some(true) => return Route::Local,
        Kind::Multicast | Kind::LinkMulticast => return Route::Unknown(Fact::MulticastGroup),
        _ => {}
    }
    let accept_local = family == Family::V6 || by_lo || s.kind == Kind::Loopback;
    if s.local == Some(true) && !accept_local {
        return Route::Dropped;
    }
    if d.local == Some(true) {
        Route::Local
    } else {
        Route::Forward
    }
}

/// Sentences 1 to 4 of WALK.md 2.
fn route4(node: &NodeFacts, number: u8, s: Nature, d: Nature, by_lo: bool) -> Option<Route> {
    const IGMP: u8 = 2;
    let multicast = |kind| matches!(kind, Kind::AllHosts | Kind::LinkMulticast | Kind::Multicast);
    if multicast(s.kind) || s.kind == Kind::Broadcast {
        return Some(Route::Dropped);
    }
    if d.kind == Kind::Broadcast || s.kind == Kind::Zero && d.kind == Kind::Zero {
        return Some(Route::Local);
    }
    if matches!(s.kind, Kind::Zero | Kind::ZeroNet) {
        let allowed = matches!(d.kind, Kind::AllHosts | Kind::LinkMulticast)
            || multicast(d.kind) && number == IGMP;
        if !allowed {
            return Some(Route::Dropped);
        }
    }
    if matches!(d.kind, Kind::Zero | Kind::ZeroNet) {
        return Some(Route::Dropped);
    }
    if !by_lo && (d.kind == Kind::Loopback || s.kind == Kind::Loopback) {
        return match node.route_localnet {
            Some(true) => None,
            Some(false) => Some(Route::Dropped),
            None => Some(Route::Unknown(Fact::RouteLocalnet)),
        };
    }
    None
}

/// What `ip6_rcv_core` refuses (WALK.md 2).
pub(crate) fn refused_on_entry(source: u128, destination: u128, by_lo: bool) -> bool {
    let scope = |scope: u128| destination >> 120 == 0xff && destination >> 112 & 0xf == scope;
    let loopback = source == 1 || destination == 1;
    source >> 120 == 0xff || scope(0) || !by_lo && (loopback || scope(1))
}

const UNSPEC: u16 = 1 << 0;
const OTHERS: u16 = !0b10_1110;
const OTHERS_V6: u16 = 1 << 4 | 1 << 7 | 1 << 8;

/// `addrtype` without `--limit-iface`: whether the address's type is in the set.
pub(crate) fn type_matches(
    locals: &Locals,
    family: Family,
    address: u128,
    types: AddressTypes,
) -> Result<bool, Fact> {
    let nature = nature(locals, family, address);
    type_of_matches(family, nature, types)
}

/// The same with what is known of whose it is.
pub(crate) fn type_of_matches(
    family: Family,
    nature: Nature,
    types: AddressTypes,
) -> Result<bool, Fact> {
    match family {
        Family::V4 => type4(nature, types),
        Family::V6 => type6(nature, types),
    }
}

fn type4(nature: Nature, types: AddressTypes) -> Result<bool, Fact> {
    let has = |one: AddressTypes| types.intersects(one);
    let local = match nature.kind {
        Kind::Loopback => Some(true),
        Kind::Broadcast | Kind::Zero | Kind::ZeroNet => return Ok(has(AddressTypes::BROADCAST)),
        Kind::AllHosts | Kind::LinkMulticast | Kind::Multicast => {
            return Ok(has(AddressTypes::MULTICAST));
        }
        Kind::Unicast => nature.local,
    };
    let others = types.0 & OTHERS & !UNSPEC != 0;
    match local {
        Some(true) => Ok(has(AddressTypes::LOCAL)),
        Some(false) if has(AddressTypes::UNICAST) => Ok(true),
        Some(false) if others => Err(Fact::AddressType),
        Some(false) => Ok(false),
        None if has(AddressTypes::LOCAL) && has(AddressTypes::UNICAST) => Ok(true),
        None if has(AddressTypes::LOCAL) || has(AddressTypes::UNICAST) => Err(Fact::LocalAddresses),
        None if others => Err(Fact::AddressType),
        None => Ok(false),
    }
}

/// `match_type6`.
fn type6(nature: Nature, types: AddressTypes) -> Result<bool, Fact> {
    let has = |one: AddressTypes| types.intersects(one);
    let multicast = matches!(
        nature.kind,
        Kind::AllHosts | Kind::Multicast | Kind::LinkMulticast
    );
    let zero = nature.kind == Kind::Zero;
    if has(AddressTypes::MULTICAST) && !multicast
        || has(AddressTypes::UNICAST) && (multicast || zero)
        || types.0 & UNSPEC != 0 && !zero
    {
        return Ok(false);
    }
    // A group that the node has joined is none of its addresses.
    let local = nature.kind == Kind::Loopback || nature.local == Some(true) && !multicast;
    let routed = types.0 & OTHERS_V6 != 0;
    match (has(AddressTypes::LOCAL), routed) {
        (false, false) => Ok(true),
        (true, _) if local => Ok(true),
        (true, _) if nature.local.is_none() && !multicast => Err(Fact::LocalAddresses),
        (_, true) if !local && !multicast => Err(Fact::AddressType),
        _ => Ok(false),
    }
}

/// The same where only the addresses of a device are LOCAL; `None`: it is not known, which is the fact beside it.
pub(crate) fn limited_type_matches(
    (locals, node): (&Locals, &NodeFacts),
    family: Family,
    address: u128,
    types: AddressTypes,
    (device, fact): (Option<Interface>, Fact),
) -> Result<bool, Fact> {
    let mut nature = nature(locals, family, address);
    if nature.local != Some(true) {
        return type_of_matches(family, nature, types);
    }
    nature.local = is_held(node, nature.kind, address, device);
    if nature.kind == Kind::Loopback {
        nature.kind = Kind::Unicast;
    }
    type_of_matches(family, nature, types).map_err(|missing| match missing {
        Fact::LocalAddresses => fact,
        other => other,
    })
}

/// Whether a local address is the device's; `None`: not known.
fn is_held(node: &NodeFacts, kind: Kind, address: u128, device: Option<Interface>) -> Option<bool> {
    if kind == Kind::Loopback {
        return Some(device == Some(Interface::lo()));
    }
    let device = device?;
    let devices = node.local.iter().flat_map(|local| &local.devices);
    let mut holding = devices
        .filter(|(_, a)| address_number(*a) == address)
        .peekable();
    holding.peek()?;
    Some(holding.any(|(d, _)| *d == device))
}
