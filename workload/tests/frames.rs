//! A frame that was built is read back, by a reader of another hand, as the packet it was built of.

use kpclass_reference::packet::read_frame;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::spec;
use kpclass_workload::frame::{Framer, Link, Origin, Tag};

#[test]
fn a_frame_reads_back_as_its_packet() {
    let specs = [
        "tcp 10.1.5.5:40000 > 10.152.183.1:443 flags=SA ttl=3 dscp=46",
        "udp [fd01::5]:40000 > [fd98::1]:53 dscp=10",
        "sctp 10.1.5.5:40000 > 10.152.183.1:3868",
        "icmp 10.1.5.5 > 10.152.183.1 type=13",
        "icmp6 fd01::5 > fd98::1 type=129 code=1",
        "udp 10.1.5.5 > 10.152.183.1 fragment-offset=1",
        "gre 10.1.5.5 > 10.152.183.1",
        "udplite 10.1.5.5:1 > 10.152.183.1:2",
        "dccp [fd01::5]:1 > [fd01::6]:2",
    ];
    for (link, number) in [(Link::Ethernet, 1), (Link::Sll2, 276), (Link::Raw, 101)] {
        for text in specs {
            let packet = spec::parse(text).unwrap().packet(&NodeFacts::default());
            let mut framer = Framer::new(link, 0);
            let read = read_frame(number, framer.frame(&packet, Origin::Pod))
                .expect(text)
                .at(packet.hook, None);
            assert_eq!(
                (read.source, read.destination, read.ports),
                (packet.source, packet.destination, packet.ports)
            );
            assert_eq!(
                (read.protocol, read.tcp_flags, read.icmp),
                (packet.protocol, packet.tcp_flags, packet.icmp)
            );
            assert_eq!(read.fragment, packet.fragment, "{text}");
            assert_eq!(
                (read.ttl, read.dscp),
                (packet.ttl.or(Some(64)), packet.dscp.or(Some(0))),
                "{text}"
            );
        }
    }
}

const WHOLE: [&str; 16] = [
    "tcp 10.1.5.5:40000 > 10.152.183.1:443 flags=SA ttl=3 dscp=46",
    "tcp [fd01::5]:40000 > [fd98::1]:53",
    "udp [fd01::5]:40000 > [fd98::1]:53 dscp=10",
    "udp 10.1.5.5:40000 > 10.152.183.1:53",
    "sctp 10.1.5.5:40000 > 10.152.183.1:3868",
    "icmp 10.1.5.5 > 10.152.183.1 type=13",
    "icmp 10.1.5.5 > 10.152.183.1 type=3 code=1",
    "icmp6 fd01::5 > fd98::1 type=128 code=0",
    "icmp6 fd01::5 > fd98::1 type=1 code=4",
    "udp 10.1.5.5 > 10.152.183.1 fragment-offset=7",
    "udp fd01::5 > fd98::1 fragment-offset=7",
    "gre 10.1.5.5 > 10.152.183.1",
    "esp fd01::5 > fd98::1",
    "ah 10.1.5.5 > 10.152.183.1",
    "udplite 10.1.5.5:1 > 10.152.183.1:2",
    "dccp [fd01::5]:1 > [fd01::6]:2",
];

fn packet(text: &str) -> Packet {
    spec::parse(text).unwrap().packet(&NodeFacts::default())
}

/// The one's complement sum of a transport packet with its pseudo header: all ones where the checksum is right.
fn sum(packet: &Packet, transport: &[u8]) -> u32 {
    let number = kpclass_ruleset::value::address_number;
    let mut sum = 0u128;
    if packet.protocol != 1 {
        sum += u128::from(packet.protocol) + transport.len() as u128;
        for address in [packet.source, packet.destination] {
            sum += (0..8)
                .map(|i| number(address) >> (16 * i) & 0xffff)
                .sum::<u128>();
        }
    }
    for (at, byte) in transport.iter().enumerate() {
        sum += u128::from(*byte) << (8 * ((at + 1) % 2));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}

#[test]
fn a_whole_frame_reads_back_and_its_checksums_are_right() {
    for text in WHOLE {
        for length in [None, Some(93), Some(200)] {
            let packet = Packet {
                length,
                ..packet(text)
            };
            let tag = Tag {
                fragment_offset: 7,
                ..Tag::default()
            };
            let mut framer = Framer::whole(Link::Raw);
            let bytes = framer.tagged(&packet, Origin::Outside, &tag).to_vec();
            let read = read_frame(101, &bytes)
                .expect(text)
                .at(packet.hook, packet.in_interface);
            let known = Packet {
                length: read.length,
                ttl: packet.ttl.or(Some(64)),
                dscp: packet.dscp.or(Some(0)),
                ..packet.clone()
            };
            assert_eq!(
                Packet {
                    source_mac: None,
                    ctstate: known.ctstate,
                    ..read.clone()
                },
                known,
                "{text}"
            );
            assert_eq!(read.length.map(usize::from), Some(bytes.len()), "{text}");
            if let Some(length) = length {
                assert!(read.length >= Some(length), "{text}");
            }
            let start = if packet.source.is_ipv4() { 20 } else { 40 };
            if matches!(packet.protocol, 1 | 6 | 17 | 33 | 58 | 136) && !packet.fragment {
                assert_eq!(sum(&packet, &bytes[start..]), 0xffff, "{text}");
            }
        }
    }
}

#[test]
fn a_tag_stands_where_a_kernel_hands_it_back() {
    let tag = Tag {
        identification: 0xabcd,
        flow_label: 0x1_2345,
        sequence: 0x0102_0304,
        source_mac: Some([2, 2, 2, 2, 2, 2]),
        destination_mac: Some([4, 4, 4, 4, 4, 4]),
        fragment_offset: 1,
        ..Tag::default()
    };
    let mut framer = Framer::whole(Link::Ethernet);
    let v4 = packet("tcp 10.1.5.5:40000 > 10.152.183.1:443");
    let bytes = framer.tagged(&v4, Origin::Outside, &tag).to_vec();
    assert_eq!(bytes[..12], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2]);
    assert_eq!(bytes[18..20], [0xab, 0xcd]);
    assert_eq!(bytes[38..42], [1, 2, 3, 4]);
    let v6 = packet("tcp [fd01::5]:40000 > [fd98::1]:53 dscp=46");
    let bytes = framer.tagged(&v6, Origin::Outside, &tag).to_vec();
    assert_eq!(bytes[14..18], [0x6b, 0x81, 0x23, 0x45]);
    let own = Packet {
        source_mac: Some([6; 6]),
        ..v4
    };
    assert_eq!(framer.tagged(&own, Origin::Outside, &tag)[6..12], [6; 6]);
}
