//! What kind of address an address is: for `addrtype`, and for routing (WALK.md 2 and 6).

use crate::machine::POSITION;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::AddressTypes;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::value::{Family, Interface, address_number, protocol};

/// What routing sees in an address, apart from whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// An ordinary one.
    Unicast,
    /// 127.0.0.0/8 but for 127.255.255.255, ::1.
    Loopback,
    /// 127.255.255.255, the broadcast address of `lo`.
    LoopbackBroadcast,
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
    /// The same of link-local addresses.
    link_local: Vec<(Interface, u128)>,
    /// [`NodeFacts::route_localnet`].
    pub(crate) route_localnet: Option<bool>,
    /// A device that is not among them has no address.
    pub(crate) every_device_is_known: bool,
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
        Self {
            family,
            numbers,
            devices: first_addresses(node, family, |_| true),
            link_local: first_addresses(node, family, |a| is_link_local(family, a)),
            route_localnet: node.route_localnet,
            every_device_is_known: node
                .local
                .as_ref()
                .is_some_and(LocalAddresses::knows_every_device),
        }
    }

    /// Each device with its first address, as far as a walk can count them.
    pub(crate) fn devices(&self, link_local: bool) -> &[(Interface, u128)] {
        if link_local {
            &self.link_local
        } else {
            &self.devices
        }
    }

    /// Those that are given.
    pub(crate) fn numbers(&self) -> &[u128] {
        self.numbers.as_deref().unwrap_or_default()
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
}

impl Locals {
    /// Whether a device has it: of loopback only 127.0.0.1 and ::1.
    fn is_assigned(&self, address: u128) -> bool {
        address == loopback(self.family)
            || self
                .numbers
                .as_ref()
                .is_some_and(|numbers| numbers.binary_search(&address).is_ok())
    }
}

fn first_addresses(
    node: &NodeFacts,
    family: Family,
    usable: impl Fn(u128) -> bool,
) -> Vec<(Interface, u128)> {
    let mut devices: Vec<(Interface, u128)> = Vec::new();
    for (device, address) in node.local.iter().flat_map(|local| &local.devices) {
        let is_new = devices.len() < POSITION as usize && devices.iter().all(|(d, _)| d != device);
        if is_new && Family::of(*address) == family && usable(address_number(*address)) {
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
        [127, 255, 255, 255] => Kind::LoopbackBroadcast,
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
        Family::V4 if !by_lo && locals.is_assigned(source) => Some(Route::Dropped),
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
    if d.local == Some(true) {
        Route::Local
    } else if family == Family::V6 && stays_on_its_link(source) {
        Route::Dropped
    } else {
        Route::Forward
    }
}

/// `::` and fe80::/10 are not forwarded (`ip6_forward`).
fn stays_on_its_link(source: u128) -> bool {
    source == 0 || source >> 118 == 0xfe80 >> 6
}

/// fe80::/10, or a group of that scope.
pub(crate) fn is_link_local(family: Family, address: u128) -> bool {
    family == Family::V6 && (address >> 118 == 0xfe80 >> 6 || address >> 112 & 0xff0f == 0xff02)
}

/// Sentences 1 and 3 to 5 of WALK.md 2.
fn route4(node: &NodeFacts, number: u8, s: Nature, d: Nature, by_lo: bool) -> Option<Route> {
    const IGMP: u8 = 2;
    let multicast = |kind| matches!(kind, Kind::AllHosts | Kind::LinkMulticast | Kind::Multicast);
    if multicast(s.kind) || s.kind == Kind::Broadcast {
        return Some(Route::Dropped);
    }
    if d.kind == Kind::Broadcast || s.kind == Kind::Zero && d.kind == Kind::Zero {
        return Some(Route::Local);
    }
    if s.kind == Kind::Zero {
        let allowed = matches!(d.kind, Kind::AllHosts | Kind::LinkMulticast)
            || multicast(d.kind) && number == IGMP;
        if !allowed {
            return Some(Route::Dropped);
        }
    }
    if d.kind == Kind::Zero {
        return Some(Route::Dropped);
    }
    let loopback = |kind| matches!(kind, Kind::Loopback | Kind::LoopbackBroadcast);
    if !by_lo && (loopback(d.kind) || loopback(s.kind)) {
        return match node.route_localnet {
            Some(true) => None,
            Some(false) => Some(Route::Dropped),
            None => Some(Route::Unknown(Fact::RouteLocalnet)),
        };
    }
    None
}

/// Whether what this node sends to `address` comes back on `lo` (WALK.md 2, last sentence): a group or the broadcast address does not,
/// though the node listens to it.
#[inline]
pub(crate) fn comes_back(locals: &Locals, family: Family, address: u128) -> bool {
    use Kind::{AllHosts, Broadcast, LinkMulticast, Multicast};
    locals.contains(address) == Some(true)
        && !matches!(
            kind(family, address),
            AllHosts | LinkMulticast | Multicast | Broadcast
        )
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

/// The same of some address of this node, not known which; `limited`: nor known whether the device holds it.
pub(crate) fn own_type_matches(
    family: Family,
    types: AddressTypes,
    limited: bool,
) -> Result<bool, Fact> {
    let nature = Nature {
        kind: Kind::Unicast,
        local: (!limited).then_some(true),
    };
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
        Kind::Broadcast | Kind::LoopbackBroadcast | Kind::Zero => {
            return Ok(has(AddressTypes::BROADCAST));
        }
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
    let local = nature.kind == Kind::Loopback || !multicast && nature.local == Some(true);
    let routed = types.0 & OTHERS_V6 != 0;
    match (has(AddressTypes::LOCAL), routed) {
        (false, false) => Ok(true),
        (true, _) if local => Ok(true),
        (true, _) if nature.local.is_none() && !multicast => Err(Fact::LocalAddresses),
        (_, true) if !local && !multicast => Err(Fact::AddressType),
        _ => Ok(false),
    }
}

/// `addrtype` with `--limit-iface-in` or `-out`: `device` is that of the limit, if known; `fact` is what is missing if not.
pub(crate) fn limited_type_matches(
    locals: &Locals,
    node: &NodeFacts,
    family: Family,
    address: u128,
    types: AddressTypes,
    device: Option<Interface>,
    fact: Fact,
) -> Result<bool, Fact> {
    let mut nature = nature(locals, family, address);
    let missing = match nature.local {
        Some(true) => fact,
        // Whose address it is comes before what holds it.
        _ => Fact::LocalAddresses,
    };
    if nature.kind == Kind::Loopback {
        // A device that is not known is at least not lo.
        nature.local = Some(device == Some(Interface::lo()));
        nature.kind = Kind::Unicast;
    } else if nature.kind == Kind::LoopbackBroadcast {
        if device != Some(Interface::lo()) {
            (nature.local, nature.kind) = (Some(false), Kind::Unicast);
        }
    } else if nature.local == Some(true) {
        nature.local = device.and_then(|device| is_held(node, address, device));
    }
    type_of_matches(family, nature, types).map_err(|why| match why {
        Fact::LocalAddresses => missing,
        other => other,
    })
}

/// Whether a device holds an address of this node; `None`: not told.
fn is_held(node: &NodeFacts, address: u128, device: Interface) -> Option<bool> {
    let devices = node.local.iter().flat_map(|local| &local.devices);
    let mut holding = devices
        .filter(|(_, a)| address_number(*a) == address)
        .map(|(holding, _)| *holding == device)
        .peekable();
    holding.peek()?;
    Some(holding.any(|is_this| is_this))
}
