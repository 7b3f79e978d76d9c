//! What a packet may become, before it is settled what it did.

use crate::{VIP, go, header, node, rules};
use kpclass_reference::Walk;
use kpclass_reference::connections::Tracker;
use kpclass_ruleset::conntrack::{CtStatus, Datagram, Settings, Tuple};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::CtState;
use std::time::Duration;

/// One of two endpoints, with a mark or without.
const FOUR: &str = "*nat\n\
    -A PREROUTING -p udp -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x1/0x1\n\
    -A PREROUTING -p udp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.5\n\
    -A PREROUTING -p udp -j DNAT --to-destination 10.1.0.6\nCOMMIT\n";

#[test]
fn each_way_is_told_and_the_one_that_happened_is_kept() {
    let (ruleset, node) = (rules(FOUR), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let first = "udp 10.0.0.9:4000 > 10.96.0.1:53";
    let datagram = Datagram::new(spec::parse(first).expect("a packet").packet(&node));
    let to = |server| format!("10.0.0.9:4000 > {server}:53");
    let servers = ["10.1.0.5", "10.1.0.6", "10.1.0.5", "10.1.0.6"].map(to);
    for (way, server) in servers.iter().enumerate() {
        let mut tracker = Tracker::new(walk, Settings::default());
        let asked = tracker.ask(&datagram, Duration::ZERO);
        let ends: Vec<String> = asked.ways().iter().map(header).collect();
        assert_eq!(ends, servers);
        // But for the mark, which is the packet's.
        assert!(asked.leave_the_same(0, 2) && asked.leave_the_same(way, way));
        assert!(!asked.leave_the_same(0, 1) && !asked.leave_the_same(1, 2));
        assert!(!asked.leave_the_same(0, 4));
        let status = tracker.settle(&asked, way, None);
        assert!(status.intersects(CtStatus::CONFIRMED));
        assert_eq!(&header(&go(&mut tracker, &node, 1, first)), server);
    }
}

/// What a `tcp-reset` closes is another connection than what is dropped.
#[test]
fn a_reset_and_a_drop_leave_different_connections() {
    let text = "*filter\n-A FORWARD -p tcp -m tcp --tcp-flags PSH PSH -m statistic --mode random --probability 0.5 -j REJECT --reject-with tcp-reset\n\
        -A FORWARD -p tcp -m tcp --tcp-flags PSH PSH -j DROP\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n";
    let (ruleset, node) = (rules(text), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    go(
        &mut tracker,
        &node,
        0,
        "tcp 10.0.0.9:4000 > 10.0.0.1:80 flags=S",
    );
    let pushed = spec::parse("tcp 10.0.0.9:4000 > 10.0.0.1:80 flags=PA").expect("a packet");
    go(
        &mut tracker,
        &node,
        0,
        "tcp 10.0.0.1:80 > 10.0.0.9:4000 flags=SA",
    );
    let asked = tracker.ask(&Datagram::new(pushed.packet(&node)), Duration::ZERO);
    assert_eq!(asked.ways().len(), 2);
    assert!(!asked.leave_the_same(0, 1));
}

#[test]
fn a_source_that_is_known_otherwise_is_pinned() {
    let text = "*nat\n-A POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n";
    let (ruleset, node) = (rules(text), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    let sent = [
        "udp 10.0.0.9:4000 > 10.0.0.1:53",
        "udp 10.0.0.8:4000 > 10.0.0.1:53",
    ];
    for text in sent {
        go(&mut tracker, &node, 0, text);
    }
    let packet = spec::parse(sent[0]).expect("a packet").packet(&node);
    let original = Tuple::of(&Datagram::new(packet)).expect("ports");
    let at = |text: &str| text.parse().expect("an address");
    tracker.pin(&original, (at("192.168.0.2"), 50_000));
    // Known ones stay.
    tracker.pin(&original, (at("192.168.0.2"), 50_001));
    let later = go(&mut tracker, &node, 1, sent[0]);
    assert_eq!(header(&later), "192.168.0.2:50000 > 10.0.0.1:53");
    // What else comes back is the other one's.
    let answer = go(
        &mut tracker,
        &node,
        2,
        "udp 10.0.0.1:53 > 192.168.0.2:50001 hook=prerouting",
    );
    assert_eq!(header(&answer), "10.0.0.1:53 > 10.0.0.8:4000");
}

#[test]
fn settings_count_from_the_next_packet_on() {
    let (ruleset, node) = (rules(VIP), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    assert_eq!(tracker.connections(), 0);
    go(&mut tracker, &node, 0, "udp 10.0.0.9:4000 > 10.0.0.1:53");
    let shorter = tracker.settings().set("nf_conntrack_udp_timeout=1");
    shorter.expect("a setting");
    go(&mut tracker, &node, 0, "udp 10.0.0.9:4001 > 10.0.0.1:53");
    assert_eq!(tracker.connections(), 2);
    let mut answered = |port: u16| {
        let answer = format!("udp 10.0.0.1:53 > 10.0.0.9:{port}");
        go(&mut tracker, &node, 2_000, &answer).ctstate
    };
    assert_eq!(answered(4000), CtState::Established);
    assert_eq!(answered(4001), CtState::New);
}
