//! The link header.

use super::{Link, Origin, Tag, put};
use kpclass_ruleset::packet::Packet;
use pnet_packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet_packet::sll2::MutableSLL2Packet;

const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
const POD_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

fn source_mac(packet: &Packet, origin: Origin, tag: &Tag) -> [u8; 6] {
    let usual = match origin {
        Origin::Pod => POD_MAC,
        Origin::Outside => ROUTER_MAC,
        Origin::Node => NODE_MAC,
    };
    packet.source_mac.or(tag.source_mac).unwrap_or(usual)
}

fn destination_mac(origin: Origin, tag: &Tag) -> [u8; 6] {
    let usual = match origin {
        Origin::Node => ROUTER_MAC,
        Origin::Pod | Origin::Outside => NODE_MAC,
    };
    tag.destination_mac.unwrap_or(usual)
}

/// Fills `bytes`, which are as many as the header has.
pub(super) fn write(link: Link, bytes: &mut [u8], packet: &Packet, origin: Origin, tag: &Tag) {
    let kind = if packet.source.is_ipv4() {
        EtherTypes::Ipv4
    } else {
        EtherTypes::Ipv6
    };
    match link {
        Link::Ethernet => {
            put(bytes, 0, &destination_mac(origin, tag));
            put(bytes, 6, &source_mac(packet, origin, tag));
            if let Some(mut header) = MutableEthernetPacket::new(bytes) {
                header.set_ethertype(kind);
            }
        }
        Link::Sll2 => write_sll2(bytes, kind, origin, source_mac(packet, origin, tag)),
        Link::Raw => {}
    }
}

fn write_sll2(bytes: &mut [u8], kind: EtherType, origin: Origin, source: [u8; 6]) {
    /// `PACKET_HOST` and `PACKET_OUTGOING`, `ARPHRD_ETHER`.
    const TO_US: u8 = 0;
    const FROM_US: u8 = 4;
    const ETHER: u16 = 1;
    let Some(mut header) = MutableSLL2Packet::new(bytes) else {
        return;
    };
    header.set_protocol_type(kind);
    header.set_interface_index(origin.device());
    header.set_arphrd_type(ETHER);
    header.set_packet_type(if origin == Origin::Node {
        FROM_US
    } else {
        TO_US
    });
    header.set_link_layer_address_length(6);
    let [a, b, c, d, e, f] = source;
    header.set_link_layer_address(&[a, b, c, d, e, f, 0, 0]);
}
