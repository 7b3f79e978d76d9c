//! Parts about addresses.

use super::{Change, Part};
use kpclass_ruleset::matches::AddressTypes;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::value::{Family, Prefix, address_number, number_address};
use std::net::IpAddr;

/// Inside a network. With a hole in the mask a neighbour may be inside as well; it is an edge all the same.
pub(super) fn prefix(prefix: &Prefix, present: IpAddr, change: fn(IpAddr) -> Change) -> Part {
    let first = prefix.address();
    let part = span(first, last(*prefix), present, change);
    Part {
        holds: prefix.contains(present),
        ..part
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

/// The address so many behind.
pub(super) fn stepped(address: IpAddr, step: i8) -> IpAddr {
    let number = address_number(address).wrapping_add_signed(i128::from(step));
    number_address(Family::of(address), number)
}

/// From one address to another, both included.
pub(super) fn span(
    first: IpAddr,
    last: IpAddr,
    present: IpAddr,
    change: fn(IpAddr) -> Change,
) -> Part {
    Part {
        holds: first <= present && present <= last,
        inverted: false,
        inside: vec![change(first), change(last)],
        outside: vec![change(stepped(last, 1)), change(stepped(first, -1))],
    }
}

/// Addresses of each type that is told apart here.
pub(super) fn address_type(
    set: AddressTypes,
    present: IpAddr,
    node: Option<&NodeFacts>,
    change: fn(IpAddr) -> Change,
) -> Part {
    let family = Family::of(present);
    let local = node.and_then(|node| node.local.as_ref()).and_then(|local| {
        local
            .devices
            .iter()
            .map(|(_, a)| *a)
            .find(|a| Family::of(*a) == family)
    });
    let of = |v4: [u8; 4], v6: [u16; 8]| match family {
        Family::V4 => IpAddr::from(v4),
        Family::V6 => IpAddr::from(v6),
    };
    let mut part = Part::default();
    let known = [
        (
            AddressTypes::LOCAL,
            local.unwrap_or(of([127, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1])),
        ),
        (
            AddressTypes::UNICAST,
            of([203, 0, 113, 77], [0x2001, 0xdb8, 7, 0, 0, 0, 0, 7]),
        ),
        (
            AddressTypes::MULTICAST,
            of([224, 0, 0, 1], [0xff02, 0, 0, 0, 0, 0, 0, 1]),
        ),
        (
            AddressTypes::BROADCAST,
            of([255; 4], [0x2001, 0xdb8, 7, 0, 0, 0, 0, 8]),
        ),
    ];
    for (types, address) in known {
        if types == AddressTypes::BROADCAST && family == Family::V6 {
            continue;
        }
        let to = if set.intersects(types) {
            &mut part.inside
        } else {
            &mut part.outside
        };
        to.push(change(address));
    }
    part
}
