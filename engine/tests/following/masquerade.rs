//! Datagrams that were masqueraded, seen on both sides of nat.

use super::{Asked, file, followed};
use kpclass_compiler::Config;
use kpclass_engine::{Report, Rules};
use kpclass_ruleset::conntrack::Settings;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::{readers, spec};
use kpclass_workload::frame::{Framer, Link, Origin, Tag};
use std::time::Duration;

/// A Service of two endpoints, for clients that are masqueraded.
const MASQUERADED: &str = "*nat\n:PREROUTING ACCEPT\n:POSTROUTING ACCEPT\n\
    -A PREROUTING -d 10.96.0.1/32 -p udp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.5:53\n\
    -A PREROUTING -d 10.96.0.1/32 -p udp -j DNAT --to-destination 10.1.0.6:53\n\
    -A POSTROUTING -p udp -j MASQUERADE\nCOMMIT\n";

/// Datagrams, each with its identification, on both sides of a node whose addresses are not known.
fn datagrams(sent: &[(u16, &str)]) -> Report {
    let read = readers::read(&[readers::Input::new("rules", MASQUERADED)]).expect("reads");
    let node = NodeFacts::default();
    let config = Config::default();
    let rules = Rules::new(read.v4.as_ref(), None, &node, &config).expect("no loops");
    let mut framer = Framer::whole(Link::Ethernet);
    let frames = sent.iter().map(|(identification, text)| {
        let packet = spec::parse(text).expect(text).packet(&node);
        let tag = Tag {
            identification: *identification,
            ..Tag::default()
        };
        framer.tagged(&packet, Origin::Outside, &tag).to_vec()
    });
    let frames: Vec<_> = frames.collect();
    let file = file(frames.iter().map(|frame| (Duration::ZERO, &frame[..])));
    let settings = Settings::default();
    followed(("datagrams", &file), &rules, &settings, (1, Asked::Check))
}

#[test]
fn a_masqueraded_datagram_is_known_again_behind_nat() {
    let asks = "udp 10.0.0.9:4000 > 10.96.0.1:53 ttl=64";
    for endpoint in ["10.1.0.5", "10.1.0.6"] {
        let behind = format!("udp 192.168.0.2:4000 > {endpoint}:53 ttl=63");
        let answer = format!("udp {endpoint}:53 > 192.168.0.2:4000 ttl=64");
        let answered = "udp 10.96.0.1:53 > 10.0.0.9:4000 ttl=63";
        let sent = [(7, asks), (7, &behind), (9, &answer), (9, answered)];
        let report = datagrams(&sent);
        let connections = report.connections.expect("connections");
        let seen = (connections.begun, connections.replied, connections.shown);
        assert_eq!(seen, (1, 1, 1), "{endpoint}");
        assert_eq!(report.classified, 2, "{endpoint}");
    }
}

/// Where it is not sure, nothing is taken from it: the other endpoint's datagram begins a connection of its own.
#[test]
fn another_datagram_is_not_taken_for_the_one_before_nat() {
    let asks = "udp 10.0.0.9:4000 > 10.96.0.1:53 ttl=64";
    let others = [
        (
            8,
            "udp 192.168.0.2:4000 > 10.1.0.6:53 ttl=63",
            "another identification",
        ),
        (7, "udp 192.168.0.2:4000 > 10.1.0.6:53 ttl=64", "no hop"),
        (
            7,
            "udp 192.168.0.2:4001 > 10.1.0.6:53 ttl=63",
            "another port",
        ),
        (
            7,
            "udp 192.168.0.2:4000 > 10.1.0.6:53 ttl=63 length=40",
            "longer",
        ),
    ];
    for (identification, other, why) in others {
        let report = datagrams(&[(7, asks), (identification, other)]);
        assert_eq!(report.connections.expect("connections").shown, 0, "{why}");
    }
    let two = [
        (7, asks),
        (7, "udp 192.168.0.2:4000 > 10.1.0.5:53 ttl=63"),
        (7, "udp 192.168.0.3:4000 > 10.1.0.6:53 ttl=63"),
    ];
    assert_eq!(
        datagrams(&two).connections.expect("connections").shown,
        0,
        "two look so"
    );
    let none = [(0, asks), (0, "udp 192.168.0.2:4000 > 10.1.0.6:53 ttl=63")];
    assert_eq!(
        datagrams(&none).connections.expect("connections").shown,
        0,
        "no identification"
    );
}
