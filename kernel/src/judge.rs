//! Holds what the kernel was seen to do against what the reference says can happen.

use crate::seen::{Answer, End, Seen, Sighting};
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::target::RejectWith;
use kpclass_ruleset::value::protocol;
use std::net::IpAddr;

/// Whether one decision accounts for all that was seen of the packet. `is_local` tells the node's addresses, for rewrites to "some
/// address of this node".
pub fn fits(
    packet: &Packet,
    decision: &Decision,
    seen: &Seen,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> bool {
    let destination_fits = |sighting: &Sighting| {
        fits_destination(packet, decision.dnat.map(|d| d.0), sighting, is_local)
    };
    let source_fits =
        |sighting: &Sighting| fits_source(packet, decision.snat.map(|s| s.0), sighting, is_local);
    let passed = |end: End| {
        seen.end == end
            && seen.last.as_ref().is_some_and(|last| {
                last.mark == decision.mark && destination_fits(last) && source_fits(last)
            })
    };
    // Nat may not have been reached; if it was, the destination must be what the decision keeps.
    let gone = || seen.end == End::Gone && seen.behind_nat.as_ref().is_none_or(destination_fits);
    match decision.disposition {
        Disposition::Forward | Disposition::Out => passed(End::Left),
        Disposition::Local => passed(End::Delivered),
        Disposition::Drop => {
            gone() && (seen.answer.is_none() || is_told_by_routing(packet, decision))
        }
        Disposition::Reject(with) => {
            let no_way_back = has_no_way_back(packet, decision, is_local);
            gone()
                && (fits_answer(packet, with, seen.answer) || no_way_back && seen.answer.is_none())
        }
        Disposition::Unknown(_) => true,
    }
}

fn fits_destination(
    packet: &Packet,
    dnat: Option<Nat>,
    sighting: &Sighting,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> bool {
    let port = sighting.ports.map(|p| p.1);
    match dnat {
        None => sighting.destination == packet.destination && port == packet.ports.map(|p| p.1),
        Some(nat) => {
            let address = match nat.address {
                Some(address) => sighting.destination == address,
                None => is_local(sighting.destination),
            };
            address && port == nat.port
        }
    }
}

fn fits_source(
    packet: &Packet,
    snat: Option<Snat>,
    sighting: &Sighting,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> bool {
    let kept = packet.ports.map(|p| p.0);
    let port = sighting.ports.map(|p| p.0);
    match snat {
        None => sighting.source == packet.source && port == kept,
        Some(Snat::Masquerade) => is_local(sighting.source),
        Some(Snat::Netmap(address)) => sighting.source == address && port == kept,
        Some(Snat::To { addresses, ports }) => {
            let address = match addresses {
                Some((first, last)) => (first..=last).contains(&sighting.source),
                None => sighting.source == packet.source,
            };
            let port = match (ports, port) {
                (Some((first, last)), Some(port)) => (first..=last).contains(&port),
                (None, _) => port == kept,
                (Some(_), None) => true,
            };
            address && port
        }
    }
}

/// Whether routing itself may have answered: of IPv6, that there is no route (`ip6_pkt_discard`).
pub(crate) fn is_told_by_routing(packet: &Packet, decision: &Decision) -> bool {
    packet.source.is_ipv6() && decision.decided_by.is_none()
}

/// Whether the answer would have to go from 127.0.0.0/8, which the packet was sent to, to another host that it came from, or seems to.
fn has_no_way_back(
    packet: &Packet,
    decision: &Decision,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> bool {
    let to = decision
        .dnat
        .and_then(|(nat, _)| nat.address)
        .unwrap_or(packet.destination);
    let from = match decision.snat {
        Some((
            Snat::To {
                addresses: Some((first, _)),
                ..
            },
            _,
        )) => first,
        _ => packet.source,
    };
    packet.source.is_ipv4() && to.is_loopback() && !is_local(from)
}

/// Whether an answer is what a REJECT gives. Some packets are never answered: a reset by a reset, an ICMP error by another, whatever comes from
/// or goes to more than one host (`icmp_send`, `icmp6_send`, `nf_send_reset`).
pub(crate) fn fits_answer(packet: &Packet, with: RejectWith, answer: Option<Answer>) -> bool {
    let Some(answer) = answer else {
        return is_never_answered(packet, with);
    };
    answer == told(with)
}

fn is_never_answered(packet: &Packet, with: RejectWith) -> bool {
    let reset = packet
        .tcp_flags
        .is_some_and(|flags| flags & tcp_flag::RST != 0);
    if with == RejectWith::TcpReset && reset {
        return true;
    }
    let nobody = |address: IpAddr| match address {
        IpAddr::V4(a) => {
            let loopback = [127, 255, 255, 255];
            a.is_multicast() || a.is_broadcast() || a.octets() == loopback || a.is_unspecified()
        }
        // The judge's devices have no link-local routes, so there is no way back.
        IpAddr::V6(a) => a.is_multicast() || a.is_unspecified() || a.is_unicast_link_local(),
    };
    let error = match (packet.source, packet.icmp) {
        (IpAddr::V4(_), Some((kind, _))) => !matches!(kind, 0 | 8 | 13..=18),
        (IpAddr::V6(_), Some((kind, _))) => kind < 128 || kind == 137,
        (_, None) => false,
    };
    packet.fragment
        || error
        || is_checked_as_a_whole(packet.protocol)
        || nobody(packet.source)
        || nobody(packet.destination)
}

/// Protocols whose whole payload must pass as if it ended in an Internet checksum of itself, or no answer is given
/// (`nf_reject_verify_csum`): those that the kernel does not know better.
fn is_checked_as_a_whole(number: u8) -> bool {
    use protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
    const GRE: u8 = 47;
    const ESP: u8 = 50;
    const AH: u8 = 51;
    let known = [TCP, UDP, ICMP, ICMPV6, SCTP, DCCP, UDPLITE, GRE, ESP, AH];
    !known.contains(&number)
}

fn told(with: RejectWith) -> Answer {
    use RejectWith::*;
    Answer::Unreachable(match with {
        TcpReset => return Answer::Reset,
        IcmpNetUnreachable => 0,
        IcmpHostUnreachable => 1,
        IcmpProtoUnreachable => 2,
        IcmpPortUnreachable => 3,
        IcmpNetProhibited => 9,
        IcmpHostProhibited => 10,
        IcmpAdminProhibited => 13,
        Icmp6NoRoute => 0,
        Icmp6AdmProhibited => 1,
        Icmp6AddrUnreachable => 3,
        Icmp6PortUnreachable => 4,
        Icmp6PolicyFail => 5,
        Icmp6RejectRoute => 6,
    })
}
