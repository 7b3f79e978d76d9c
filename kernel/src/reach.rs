//! Which packets the judge can put to the kernel: not all that a matcher can be asked about can come to a hook so, or alone.

use crate::backend::Backend;
use crate::kernel::Kernel;
use kpclass_ruleset::Hook;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Interface, protocol};
use std::net::IpAddr;

/// Why the judge cannot put a packet to the kernel with the rules that are loaded, if it cannot.
pub fn left_out(kernel: &Kernel, packet: &Packet) -> Option<&'static str> {
    if is_refused(kernel, packet) {
        return Some("from 127.0.0.0/8 to another host: no route, before there is a packet");
    }
    if packet.fragment && kernel.backend() == Backend::Nft {
        return Some("iptables-nft 1.8.9 takes a later fragment's first bytes for ports");
    }
    if is_joined(kernel, packet) {
        return Some("a fragment that is joined with the others before rules see it");
    }
    left_out_always(packet)
}

/// Whether there is no route for it, before there is a packet: from 127.0.0.0/8 to another host.
fn is_refused(kernel: &Kernel, packet: &Packet) -> bool {
    packet.hook == Hook::Output
        && matches!(packet.source, IpAddr::V4(a) if a.is_loopback())
        && !kernel.is_local(packet.destination)
}

/// Whether fragments are joined before rules see them that the reference shows a fragment alone: all while conntrack is on, and the node's
/// own before INPUT (`ip_local_deliver`).
fn is_joined(kernel: &Kernel, packet: &Packet) -> bool {
    let to = packet.destination;
    let for_this_node = kernel.is_local(to) || is_for_many(to) || to.is_unspecified();
    packet.fragment && (kernel.is_conntrack_on() || for_this_node)
}

fn left_out_always(packet: &Packet) -> Option<&'static str> {
    if packet.hook == Hook::Prerouting && packet.in_interface == Some(Interface::lo()) {
        return Some("what arrives by lo was sent by the node: it starts at OUTPUT");
    }
    if packet.ctstate != packet.first_ctstate() {
        return Some("a packet that is not its connection's first");
    }
    let unspecified = packet.destination.is_unspecified() || packet.source.is_unspecified();
    if packet.hook == Hook::Output && unspecified {
        return Some("an unspecified address that the kernel replaces before there is a packet");
    }
    if packet.hook == Hook::Output && is_for_many(packet.destination) {
        return Some(
            "a multicast or broadcast that the node sends: the kernel makes two of it, and only the first meets nat",
        );
    }
    if is_link_local(packet.destination) {
        return Some("a link-local destination: the routes of each device tell");
    }
    if is_of_an_old_scope(packet.destination) {
        return Some(
            "a site-local or IPv4-compatible destination, which REDIRECT tells apart as nothing else does",
        );
    }
    if packet.protocol == protocol::DCCP {
        return Some("DCCP: recent kernels track it without ports, older ones with them");
    }
    if packet.protocol == protocol::UDPLITE && packet.hook == Hook::Prerouting {
        return Some(
            "UDP-Lite that arrives: conntrack verifies its checksum with UDP's number, so that a right one is INVALID unless a device verified it",
        );
    }
    if matches!(
        (packet.source.is_ipv4(), packet.protocol),
        (true, protocol::ICMPV6) | (false, protocol::ICMP)
    ) {
        return Some("the other family's ICMP: conntrack looks at its type, which no Packet holds");
    }
    None
}

fn is_for_many(address: IpAddr) -> bool {
    address.is_multicast()
        || matches!(address, IpAddr::V4(a) if a.is_broadcast() || a.octets() == [127, 255, 255, 255])
}

/// fec0::/10, groups of that scope, ::/96: gone from the standards, but still scopes of their own to `nf_nat_redirect_ipv6`.
fn is_of_an_old_scope(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else {
        return false;
    };
    let segments = address.segments();
    let compatible = segments[..6] == [0; 6] && !address.is_loopback() && !address.is_unspecified();
    segments[0] & 0xffc0 == 0xfec0 || segments[0] & 0xff0f == 0xff05 || compatible
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}
