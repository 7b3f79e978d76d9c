//! Frames built with etherparse's own builder and by hand, whole, tagged, fragmented and cut.

use super::*;
use etherparse::PacketBuilder;
use kpclass_ruleset::packet::tcp_flag;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn tcp_frame() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(MAC, [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63)
        .tcp(4000, 80, 1, 1024)
        .syn()
        .ece();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"hello").unwrap();
    bytes
}

fn udp6_frame() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(MAC, [2, 0, 0, 0, 0, 2])
        .ipv6([1; 16], [2; 16], 5)
        .udp(53, 5353);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"hi").unwrap();
    bytes
}

/// The frame of an Ethernet frame's datagram behind another link header.
fn relinked(header: &[u8], ethernet: &[u8]) -> Vec<u8> {
    [header, &ethernet[14..]].concat()
}

fn read(bytes: &[u8]) -> Result<FramePacket, SkipReason> {
    read_frame(link_type::ETHERNET, bytes)
}

#[test]
fn tcp_in_full() {
    let packet = read(&tcp_frame()).unwrap();
    assert_eq!(packet.source, IpAddr::from([10, 0, 0, 1]));
    assert_eq!(packet.destination, IpAddr::from([10, 0, 0, 2]));
    assert_eq!(
        (packet.protocol, packet.ports),
        (protocol::TCP, Some((4000, 80)))
    );
    assert_eq!(packet.tcp_flags, Some(tcp_flag::SYN | tcp_flag::ECE));
    assert_eq!((packet.length, packet.ttl, packet.dscp), (Some(45), 63, 0));
    assert_eq!(packet.source_mac, Some(MAC));
    assert!(!packet.fragment);
    let first = packet.at(Hook::Prerouting, None);
    assert_eq!(
        (first.hook, first.mark, first.ctstate),
        (Hook::Prerouting, 0, CtState::New)
    );
}

#[test]
fn every_link_header_leads_to_the_same_packet() {
    let plain = tcp_frame();
    let expected = FramePacket {
        source_mac: None,
        ..read(&plain).unwrap()
    };
    let sll = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0];
    let sll2 = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    for (link, header, mac) in [
        (link_type::RAW, &[][..], None),
        (link_type::RAW_BSD[0], &[], None),
        (link_type::IPV4, &[], None),
        (link_type::NULL, &[2, 0, 0, 0], None),
        (link_type::NULL, &[0, 0, 0, 2], None),
        (link_type::LOOP, &[0, 0, 0, 2], None),
        (link_type::LINUX_SLL, &sll, Some(MAC)),
        (link_type::LINUX_SLL2, &sll2, Some(MAC)),
    ] {
        let packet = read_frame(link, &relinked(header, &plain)).unwrap();
        assert_eq!(
            packet,
            FramePacket {
                source_mac: mac,
                ..expected.clone()
            },
            "link type {link}"
        );
    }
    for family in [10, 24, 28, 30] {
        let frame = relinked(&[family, 0, 0, 0], &udp6_frame());
        assert_eq!(
            read_frame(link_type::NULL, &frame).unwrap().ports,
            Some((53, 5353))
        );
    }
}

#[test]
fn tags_in_any_number() {
    let plain = tcp_frame();
    for tags in [
        &[0x81, 0, 0, 5][..],
        &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6],
        &[0x91, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3],
    ] {
        let tagged = [&plain[..12], tags, &plain[12..]].concat();
        assert_eq!(read(&tagged), read(&plain));
        assert_eq!(read(&tagged[..14]), Err(SkipReason::CutLink));
    }
}

#[test]
fn padding_behind_the_datagram_is_not_read() {
    let mut frame = udp4(b"");
    frame.extend([0; 18]);
    assert_eq!(read(&frame).unwrap().length, Some(28));
    // A datagram of 24 bytes ends within the UDP header, whatever pads the frame.
    frame[17] = 24;
    assert_eq!(read(&frame), Err(SkipReason::CutTransport));
}

fn udp4(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(MAC, MAC)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1, 2);
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

#[test]
fn a_first_fragment_has_ports_and_a_later_one_none() {
    let mut frame = udp4(b"12345678");
    frame[20] = 0x20;
    assert_eq!(read(&frame).unwrap().ports, Some((1, 2)));
    frame[21] = 1;
    let later = read(&frame).unwrap();
    assert!(later.fragment);
    assert_eq!((later.protocol, later.ports), (protocol::UDP, None));
}

#[test]
fn ipv6_extension_headers_are_gone_through() {
    let with = |next: u8, extensions: &[u8]| {
        let mut frame = udp6_frame();
        frame[20] = next;
        let payload_len = u16::from_be_bytes([frame[18], frame[19]]) + extensions.len() as u16;
        frame[18..20].copy_from_slice(&payload_len.to_be_bytes());
        frame.splice(54..54, extensions.iter().copied());
        frame
    };
    let hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [43, 0, 1, 4, 0, 0, 0, 0];
    let routing = [51, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [44, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    let first = [17, 0, 0, 1, 0, 0, 0, 9];
    let all = [&hop[..], &destination, &routing, &authentication, &first].concat();
    let packet = read(&with(0, &all)).unwrap();
    assert_eq!(
        (packet.protocol, packet.ports),
        (protocol::UDP, Some((53, 5353)))
    );
    assert!(!packet.fragment);
    assert_eq!(packet.length, Some(40 + 10 + all.len() as u16));

    let later = read(&with(44, &[17, 0, 0, 9, 0, 0, 0, 9])).unwrap();
    assert!(later.fragment);
    assert_eq!((later.protocol, later.ports), (protocol::UDP, None));

    let no_next = read(&with(59, &[])).unwrap();
    assert_eq!((no_next.protocol, no_next.ports), (59, None));
}

#[test]
fn icmp_and_others() {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(MAC, MAC).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder
        .icmpv4_echo_request(1, 2)
        .write(&mut bytes, b"")
        .unwrap();
    let packet = read(&bytes).unwrap();
    assert_eq!((packet.icmp, packet.ports), (Some((8, 0)), None));
    bytes[23] = protocol::GRE;
    let packet = read(&bytes).unwrap();
    assert_eq!(
        (packet.protocol, packet.icmp, packet.ports),
        (protocol::GRE, None, None)
    );
    for (number, len) in [
        (protocol::SCTP, 12),
        (protocol::DCCP, 12),
        (protocol::UDPLITE, 8),
    ] {
        let mut frame = udp4(&[0; 8]);
        frame[23] = number;
        frame[17] = 20 + len;
        assert_eq!(read(&frame).unwrap().ports, Some((1, 2)));
        frame[17] -= 1;
        assert_eq!(read(&frame), Err(SkipReason::CutTransport));
    }
}

#[test]
fn what_is_skipped_and_why() {
    let plain = tcp_frame();
    let mut arp = plain.clone();
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(read(&arp), Err(SkipReason::NotIp));
    assert_eq!(read_frame(147, &plain), Err(SkipReason::LinkType(147)));
    assert_eq!(
        read_frame(link_type::RAW, &[0x50; 40]),
        Err(SkipReason::NotIp)
    );
    let mut version = plain.clone();
    version[14] = 0x65;
    assert_eq!(read(&version), Err(SkipReason::MalformedNetwork));
    let mut short_header = plain.clone();
    short_header[14] = 0x44;
    assert_eq!(read(&short_header), Err(SkipReason::MalformedNetwork));
    let mut short_total = plain.clone();
    short_total[16..18].copy_from_slice(&[0, 19]);
    assert_eq!(read(&short_total), Err(SkipReason::MalformedNetwork));
}

#[test]
fn a_length_left_to_the_device_is_not_known() {
    let mut frame = tcp_frame();
    frame[16..18].copy_from_slice(&[0, 0]);
    let packet = read(&frame).unwrap();
    assert_eq!((packet.length, packet.ports), (None, Some((4000, 80))));
}

#[test]
fn cut_at_every_byte_it_is_skipped_or_the_same() {
    for (frame, link_len, network_len, needed) in
        [(tcp_frame(), 14, 34, 54), (udp6_frame(), 14, 54, 62)]
    {
        let whole = read(&frame).unwrap();
        for len in 0..frame.len() {
            let expected = match len {
                _ if len < link_len => Err(SkipReason::CutLink),
                _ if len < network_len => Err(SkipReason::CutNetwork),
                _ if len < needed => Err(SkipReason::CutTransport),
                _ => Ok(whole.clone()),
            };
            assert_eq!(read(&frame[..len]), expected, "{len} bytes");
        }
    }
}

#[test]
fn any_bytes_are_read_or_skipped() {
    // A linear congruential sequence: every link type meets bytes that begin like real headers and go on like noise.
    let mut seed = 1u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    let starts = [tcp_frame(), udp6_frame()];
    let mut packets = 0;
    for round in 0..20_000 {
        let mut frame = starts[round % 2].clone();
        for _ in 0..=next() % 8 {
            let at = usize::from(next()) % frame.len();
            frame[at] = next();
        }
        frame.truncate(frame.len() - usize::from(next()) % 8);
        for link in [0, 1, 12, 101, 108, 113, 228, 229, 276] {
            packets += usize::from(read_frame(link, &frame).is_ok());
        }
    }
    assert!(packets > 5_000, "only {packets} were read");
}
