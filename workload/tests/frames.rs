//! A frame that was built is read back, by a reader of another hand, as the packet it was built of.

use kpclass_reference::packet::read_frame;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::spec;
use kpclass_workload::frame::{Framer, Link, Origin};

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
