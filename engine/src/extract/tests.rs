//! Each link type and header form, by bytes built by hand.

use super::*;
use kpclass_compiler::program::lookup::Tuple;

const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

/// A frame from its parts.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn ethernet_header(ethertype: u16) -> Vec<u8> {
    join(&[
        &[2, 0, 0, 0, 0, 0x0b],
        &SOURCE_MAC,
        &ethertype.to_be_bytes(),
    ])
}

fn ipv4_header(protocol: u8, payload_len: u16) -> Vec<u8> {
    let total = (20 + payload_len).to_be_bytes();
    let start = [
        0x45, 0xb8, total[0], total[1], 0, 1, 0x40, 0, 63, protocol, 0, 0,
    ];
    join(&[&start, &[10, 1, 5, 5], &[10, 152, 183, 1]])
}

fn ipv6_header(next: u8, payload_len: u16) -> Vec<u8> {
    let len = payload_len.to_be_bytes();
    let mut header = vec![0x6b, 0x80, 0, 0, len[0], len[1], next, 62];
    header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    header
}

fn tcp_header(flags: u8) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40, 0x01, 0xbb];
    header.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

fn udp_header(payload_len: u16) -> Vec<u8> {
    let len = (8 + payload_len).to_be_bytes();
    vec![0x9c, 0x40, 0x00, 0x35, len[0], len[1], 0, 0]
}

fn tcp4() -> Vec<u8> {
    join(&[&ipv4_header(6, 20), &tcp_header(2)])
}

fn tcp6() -> Vec<u8> {
    join(&[&ipv6_header(6, 20), &tcp_header(2)])
}

const COMMON: u16 = known::LENGTH | known::TTL | known::DSCP;

fn tcp4_fields() -> Header {
    Header {
        source: 0x0a01_0505,
        destination: 0x0a98_b701,
        source_port: 40000,
        destination_port: 443,
        length: 40,
        known: COMMON | known::PORTS | known::TCP_FLAGS,
        protocol: 6,
        tcp_flags: 2,
        ttl: 63,
        dscp: 46,
        ..Header::default()
    }
}

fn tcp6_fields() -> Header {
    Header {
        source: 0xfd00_u128 << 112 | 1,
        destination: 0xfd00_u128 << 112 | 2,
        length: 60,
        known: COMMON | known::PORTS | known::TCP_FLAGS | known::V6,
        ttl: 62,
        ..tcp4_fields()
    }
}

fn with_mac(header: Header) -> Header {
    Header {
        known: header.known | known::MAC,
        source_mac: SOURCE_MAC,
        ..header
    }
}

fn whole(link: LinkType, frame: &[u8]) -> Result<Header, Skip> {
    extract(link, frame, frame.len() as u32)
}

fn on_ethernet(packet: &[u8]) -> Result<Header, Skip> {
    let ethertype = if packet[0] >> 4 == 4 {
        ethertype::IPV4
    } else {
        ethertype::IPV6
    };
    whole(
        LinkType::ETHERNET,
        &join(&[&ethernet_header(ethertype), packet]),
    )
}

#[test]
fn ethernet_carries_tcp_over_both_families() {
    assert_eq!(on_ethernet(&tcp4()), Ok(with_mac(tcp4_fields())));
    assert_eq!(on_ethernet(&tcp6()), Ok(with_mac(tcp6_fields())));
}

#[test]
fn ethernet_carries_short_and_long_udp() {
    for payload_len in [0, 1, 11, 12, 13, 1000_u16] {
        let payload = vec![0; payload_len.into()];
        let packet = join(&[
            &ipv4_header(17, 8 + payload_len),
            &udp_header(payload_len),
            &payload,
        ]);
        let expected = Header {
            destination_port: 53,
            protocol: 17,
            tcp_flags: 0,
            length: 28 + payload_len,
            known: COMMON | known::PORTS,
            ..tcp4_fields()
        };
        assert_eq!(
            on_ethernet(&packet),
            Ok(with_mac(expected)),
            "{payload_len} bytes"
        );
    }
}

#[test]
fn padding_behind_a_packet_is_no_part_of_it() {
    // A UDP header that claims to be there stands in the padding of an empty UDP packet.
    let packet = join(&[&ipv4_header(17, 0), &udp_header(0), &[0; 20]]);
    assert_eq!(on_ethernet(&packet), Err(Skip::Malformed));
}

#[test]
fn tags_are_walked_over() {
    for tags in [
        vec![(0x8100, 5)],
        vec![(0x88a8, 5), (0x8100, 6)],
        vec![(0x9100, 1), (0x8100, 2), (0x8100, 3)],
    ] {
        let mut frame = ethernet_header(tags[0].0);
        let types = tags
            .iter()
            .skip(1)
            .map(|tag| tag.0)
            .chain([ethertype::IPV4]);
        for ((_, id), next) in tags.iter().zip(types) {
            frame.extend(u16::to_be_bytes(*id));
            frame.extend(next.to_be_bytes());
        }
        frame.extend(tcp4());
        assert_eq!(
            whole(LinkType::ETHERNET, &frame),
            Ok(with_mac(tcp4_fields())),
            "{tags:?}"
        );
    }
}

#[test]
fn more_tags_than_the_limit_are_too_deep() {
    for (tags, expected) in [
        (MAX_TAGS, Ok(with_mac(tcp4_fields()))),
        (MAX_TAGS + 1, Err(Skip::TooDeep)),
    ] {
        let mut frame = ethernet_header(ethertype::VLAN);
        for tag in 1..=tags {
            let next = if tag == tags {
                ethertype::IPV4
            } else {
                ethertype::VLAN
            };
            frame.extend([0, 1]);
            frame.extend(next.to_be_bytes());
        }
        frame.extend(tcp4());
        assert_eq!(whole(LinkType::ETHERNET, &frame), expected, "{tags} tags");
    }
}

#[test]
fn what_is_not_ip_says_what_it_is() {
    let frame = |ethertype: u16| join(&[&ethernet_header(ethertype), &[0; 46]]);
    assert_eq!(
        whole(LinkType::ETHERNET, &frame(ethertype::ARP)),
        Err(Skip::Arp)
    );
    assert_eq!(whole(LinkType::ETHERNET, &frame(0x88cc)), Err(Skip::NotIp));
    assert_eq!(whole(LinkType::ETHERNET, &frame(46)), Err(Skip::NotIp));
    assert_eq!(
        whole(LinkType(105), &frame(ethertype::IPV4)),
        Err(Skip::LinkType)
    );
}

fn sll_header(device: u16, protocol: u16) -> Vec<u8> {
    let (device, protocol) = (device.to_be_bytes(), protocol.to_be_bytes());
    join(&[&[0, 4], &device, &[0, 6], &SOURCE_MAC, &[0, 0], &protocol])
}

fn sll2_header(device: u16, protocol: u16) -> Vec<u8> {
    let (device, protocol) = (device.to_be_bytes(), protocol.to_be_bytes());
    join(&[
        &protocol,
        &[0, 0],
        &[0, 0, 0, 7],
        &device,
        &[4, 6],
        &SOURCE_MAC,
        &[0, 0],
    ])
}

#[test]
fn cooked_captures_have_a_mac_where_the_device_has() {
    for (link, header) in [
        (LinkType::LINUX_SLL, sll_header as fn(u16, u16) -> Vec<u8>),
        (LinkType::LINUX_SLL2, sll2_header),
    ] {
        let frame = |device, protocol, packet: &[u8]| join(&[&header(device, protocol), packet]);
        assert_eq!(
            whole(link, &frame(1, 0x0800, &tcp4())),
            Ok(with_mac(tcp4_fields()))
        );
        assert_eq!(
            whole(link, &frame(1, 0x86dd, &tcp6())),
            Ok(with_mac(tcp6_fields()))
        );
        assert_eq!(whole(link, &frame(772, 0x0800, &tcp4())), Ok(tcp4_fields()));
        assert_eq!(whole(link, &frame(824, 0x0800, &tcp4())), Err(Skip::NotIp));
        assert_eq!(whole(link, &frame(1, 0x0806, &tcp4())), Err(Skip::Arp));
        let tagged = join(&[&[0, 5, 0x08, 0x00], &tcp4()]);
        assert_eq!(
            whole(link, &frame(1, 0x8100, &tagged)),
            Ok(with_mac(tcp4_fields()))
        );
    }
    assert_eq!(
        Sll2::read(&sll2_header(1, 0x0800))
            .unwrap()
            .interface_index(),
        7
    );
}

#[test]
fn raw_ip_is_told_apart_by_its_version() {
    for link in [12, 14, 101].map(LinkType) {
        assert_eq!(whole(link, &tcp4()), Ok(tcp4_fields()));
        assert_eq!(whole(link, &tcp6()), Ok(tcp6_fields()));
        assert_eq!(whole(link, &[0x50; 60]), Err(Skip::NotIp));
        assert_eq!(whole(link, &[]), Err(Skip::Malformed));
    }
    assert_eq!(whole(LinkType::IPV4, &tcp4()), Ok(tcp4_fields()));
    assert_eq!(whole(LinkType::IPV6, &tcp6()), Ok(tcp6_fields()));
    assert_eq!(whole(LinkType::IPV4, &tcp6()), Err(Skip::Malformed));
    assert_eq!(whole(LinkType::IPV6, &tcp4()), Err(Skip::Malformed));
}

#[test]
fn loopback_families_are_read_in_both_orders() {
    for link in [LinkType::NULL, LinkType::LOOP] {
        for (family, packet, fields) in [
            (2_u32, tcp4(), tcp4_fields()),
            (10, tcp6(), tcp6_fields()),
            (23, tcp6(), tcp6_fields()),
            (24, tcp6(), tcp6_fields()),
            (28, tcp6(), tcp6_fields()),
            (30, tcp6(), tcp6_fields()),
        ] {
            for header in [family.to_le_bytes(), family.to_be_bytes()] {
                assert_eq!(
                    whole(link, &join(&[&header, &packet])),
                    Ok(fields),
                    "{header:?}"
                );
            }
        }
        assert_eq!(
            whole(link, &join(&[&[7, 0, 0, 0], &tcp4()])),
            Err(Skip::NotIp)
        );
    }
}

#[test]
fn ipv4_options_are_walked_over() {
    let mut packet = join(&[&ipv4_header(6, 24), &[1, 1, 1, 0], &tcp_header(2)]);
    packet[0] = 0x46;
    assert_eq!(
        on_ethernet(&packet),
        Ok(with_mac(Header {
            length: 44,
            ..tcp4_fields()
        }))
    );
    packet[0] = 0x44;
    assert_eq!(
        on_ethernet(&packet),
        Err(Skip::Malformed),
        "a header of 16 bytes"
    );
    packet[0] = 0x4f;
    assert_eq!(
        on_ethernet(&packet),
        Err(Skip::Malformed),
        "a header longer than the packet"
    );
}

#[test]
fn a_later_fragment_has_no_ports() {
    let mut packet = tcp4();
    packet[6..8].copy_from_slice(&0x2000_u16.to_be_bytes());
    assert_eq!(
        on_ethernet(&packet),
        Ok(with_mac(tcp4_fields())),
        "the first fragment"
    );
    packet[6..8].copy_from_slice(&185_u16.to_be_bytes());
    let fields = Header {
        source_port: 0,
        destination_port: 0,
        tcp_flags: 0,
        known: COMMON | known::FRAGMENT,
        ..tcp4_fields()
    };
    assert_eq!(on_ethernet(&packet), Ok(with_mac(fields)));
}

/// A packet whose length the network card fills in.
fn offloaded(header: Header) -> Header {
    Header {
        length: 0,
        known: header.known & !known::LENGTH,
        ..header
    }
}

#[test]
fn lengths_that_lie_are_malformed() {
    let with_total = |total: u16| {
        let mut packet = tcp4();
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet
    };
    for total in [1, 19, 20, 39, 41, 65535] {
        assert_eq!(
            on_ethernet(&with_total(total)),
            Err(Skip::Malformed),
            "total length {total}"
        );
    }
    assert_eq!(
        on_ethernet(&with_total(0)),
        Ok(with_mac(offloaded(tcp4_fields())))
    );
    let cut = join(&[&ethernet_header(0x0800), &with_total(1500)]);
    let fields = Header {
        length: 1500,
        ..tcp4_fields()
    };
    assert_eq!(
        extract(LinkType::ETHERNET, &cut, 1514),
        Ok(with_mac(fields)),
        "snaplen cut it"
    );
    assert_eq!(
        extract(LinkType::ETHERNET, &cut, 1513),
        Err(Skip::Malformed),
        "one byte short"
    );
}

#[test]
fn a_cut_frame_is_read_if_its_transport_header_is_there() {
    let packet = join(&[&ipv4_header(6, 30), &tcp_header(2), &[0; 10]]);
    let frame = join(&[&ethernet_header(0x0800), &packet]);
    let fields = with_mac(Header {
        length: 50,
        ..tcp4_fields()
    });
    for len in 0..frame.len() {
        let cut = extract(LinkType::ETHERNET, &frame[..len], frame.len() as u32);
        assert_eq!(
            cut,
            if len < 54 {
                Err(Skip::Truncated)
            } else {
                Ok(fields)
            },
            "{len} captured"
        );
        let short = extract(LinkType::ETHERNET, &frame[..len], len as u32);
        assert_eq!(short, Err(Skip::Malformed), "{len} on the wire");
    }
}

#[test]
fn every_protocol_with_ports_has_them() {
    for (protocol, len) in [(17, 8), (136, 8), (132, 12), (33, 12)] {
        for (given, expected) in [(len, true), (len - 1, false)] {
            let payload = &udp_header(0).repeat(2)[..given];
            let header = on_ethernet(&join(&[&ipv4_header(protocol, given as u16), payload]));
            match header {
                Ok(header) => {
                    assert!(expected && header.known & known::PORTS != 0);
                    assert_eq!((header.source_port, header.destination_port), (40000, 53));
                }
                Err(skip) => assert!(!expected && skip == Skip::Malformed, "{protocol}"),
            }
        }
    }
    let esp = on_ethernet(&join(&[&ipv4_header(50, 8), &udp_header(0)])).unwrap();
    assert_eq!((esp.protocol, esp.known & known::PORTS), (50, 0));
}

#[test]
fn icmp_has_type_and_code() {
    let message = [3, 4, 0, 0, 0, 0, 0, 0];
    let icmp = |packet: Vec<u8>| {
        let header = on_ethernet(&join(&[&packet, &message])).unwrap();
        (header.known & known::ICMP != 0).then_some((header.icmp_type, header.icmp_code))
    };
    assert_eq!(icmp(ipv4_header(1, 8)), Some((3, 4)));
    assert_eq!(icmp(ipv6_header(58, 8)), Some((3, 4)));
    assert_eq!(icmp(ipv4_header(58, 8)), Some((3, 4)));
    assert_eq!(icmp(ipv4_header(2, 8)), None);
}

fn extension(next: u8, len_field: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0; len];
    header[..2].copy_from_slice(&[next, len_field]);
    header
}

#[test]
fn extension_headers_are_walked_over() {
    let headers = [
        extension(43, 0, 8),  // hop-by-hop
        extension(60, 1, 16), // routing
        extension(51, 0, 8),  // destination options
        extension(44, 4, 24), // authentication
        extension(6, 0, 8),   // fragment, the first
    ]
    .concat();
    let len = (headers.len() + 20) as u16;
    let packet = join(&[&ipv6_header(0, len), &headers, &tcp_header(2)]);
    assert_eq!(
        on_ethernet(&packet),
        Ok(with_mac(Header {
            length: 40 + len,
            ..tcp6_fields()
        }))
    );
}

#[test]
fn a_later_ipv6_fragment_ends_the_walk() {
    let fragment = [60, 0, 0x00, 0x08, 0, 0, 0, 1];
    let packet = join(&[&ipv6_header(44, 16), &fragment, &[0xff; 8]]);
    let header = on_ethernet(&packet).unwrap();
    assert_eq!(
        (
            header.protocol,
            header.known & (known::FRAGMENT | known::PORTS)
        ),
        (60, known::FRAGMENT)
    );
}

#[test]
fn extension_headers_that_lie_or_never_end_are_skipped() {
    let beyond = join(&[&ipv6_header(60, 28), &extension(6, 9, 8), &tcp_header(2)]);
    assert_eq!(on_ethernet(&beyond), Err(Skip::Malformed));
    for (count, expected) in [(MAX_EXTENSIONS, true), (MAX_EXTENSIONS + 1, false)] {
        let mut headers = extension(60, 0, 8).repeat(count);
        headers[count * 8 - 8] = 6;
        let len = (headers.len() + 20) as u16;
        let given = on_ethernet(&join(&[&ipv6_header(60, len), &headers, &tcp_header(2)]));
        assert_eq!(given.is_ok(), expected, "{count}");
        assert!(expected || given == Err(Skip::TooDeep));
    }
}

#[test]
fn an_ipv6_packet_without_payload_length_goes_to_the_end_of_its_frame() {
    let mut packet = tcp6();
    packet[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(on_ethernet(&packet), Ok(with_mac(offloaded(tcp6_fields()))));
    let nothing = join(&[&ipv6_header(59, 0), &[0; 6]]);
    let header = on_ethernet(&nothing).unwrap();
    assert_eq!((header.protocol, header.length), (59, 40));
}

/// Every byte of ordinary frames and of such as are nearly ordinary, with every value: 50,000 frames and more.
#[test]
fn the_straight_path_gives_what_the_general_one_gives() {
    let udp = join(&[&[0x45, 0, 0, 28], &tcp4()[4..9], &[17, 0, 0], &tcp4()[12..]]);
    let frames = [
        join(&[&ethernet_header(0x0800), &tcp4(), &[0; 10]]),
        join(&[&ethernet_header(0x0800), &udp, &[0; 18]]),
        join(&[&ethernet_header(0x86dd), &tcp6(), &[0; 10]]),
    ];
    let mut ordinary_ones = [0; 3];
    for (frame, count) in frames.iter().zip(&mut ordinary_ones) {
        for at in 0..frame.len() {
            for value in 0..=255 {
                let mut frame = frame.clone();
                frame[at] = value;
                let general = extract(LinkType::ETHERNET, &frame, frame.len() as u32).ok();
                let same = match (ordinary::v4(&frame), ordinary::v6(&frame)) {
                    (Some(tuple), None) => tuple == Tuple::of(&general.unwrap()).unwrap(),
                    (None, Some(tuple)) => tuple == Tuple::of(&general.unwrap()).unwrap(),
                    (None, None) => continue,
                    (Some(_), Some(_)) => false,
                };
                *count += 1;
                assert!(same, "byte {at} is {value}");
            }
        }
    }
    assert!(
        ordinary_ones.iter().all(|count| *count > 1000),
        "{ordinary_ones:?}"
    );
}

#[test]
fn a_plain_frame_is_read_as_the_general_way_reads_it() {
    let udp = join(&[&[0x45, 0, 0, 28], &tcp4()[4..9], &[17, 0, 0], &tcp4()[12..]]);
    let mut udp_of_20 = udp.clone();
    udp_of_20[25] = 8;
    udp_of_20[24] = 0;
    let cooked = [&[8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6][..], &[2; 6], &[0; 2]].concat();
    let frames = [
        (
            LinkType::ETHERNET,
            join(&[&ethernet_header(0x0800), &tcp4(), &[0; 10]]),
        ),
        (
            LinkType::ETHERNET,
            join(&[&ethernet_header(0x0800), &udp_of_20, &[0; 18]]),
        ),
        (LinkType::LINUX_SLL2, join(&[&cooked, &tcp4(), &[0; 10]])),
    ];
    let mut plain_ones = [0; 3];
    for ((link, frame), count) in frames.iter().zip(&mut plain_ones) {
        for at in 0..frame.len() {
            for value in 0..=255 {
                let mut frame = frame.clone();
                frame[at] = value;
                if let Some(read) = plain(*link, &frame) {
                    let general = of_connection(*link, &frame, frame.len() as u32);
                    assert_eq!(Ok(read.of_connection()), general, "byte {at} is {value}");
                    *count += 1;
                }
            }
        }
    }
    assert!(
        plain_ones.iter().all(|count| *count > 1000),
        "{plain_ones:?}"
    );
}

#[test]
fn the_number_0_tells_no_segment_from_another() {
    let signed = |number| super::connection::signed(number, 40, 2);
    assert!(signed(1) != signed(2) && signed(1).is_some());
    assert_eq!(signed(0), None);
    let opening = super::connection::opening;
    assert_eq!(
        (opening(0x02, 7, 0), opening(0x12, 9, 8)),
        (Some(7), Some(7))
    );
    assert_eq!((opening(0x02, 0, 0), opening(0x12, 9, 1)), (None, None));
}
