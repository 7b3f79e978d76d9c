//! What is not known of connections, and what else then is not (CONNTRACK.md 3.6 to 3.9).

use crate::{go, header, node, rules};
use kpclass_reference::connections::{Tracked, Tracker};
use kpclass_reference::{Assumption, Walk};
use kpclass_ruleset::conntrack::{Datagram, Settings, Tuple};
use kpclass_ruleset::decision::{Disposition, Fact};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::CtState;
use std::time::Duration;

/// What goes to 10.0.0.66 may be dropped or not, and is translated no less; sources become 192.0.2.7, and some a network's.
const LIMITED: &str = "*filter\n-A FORWARD -d 10.0.0.66/32 -m limit --limit 1/sec -j DROP\n\
    *nat\n-A POSTROUTING -d 10.0.0.77/32 -j SNAT --to-source 192.0.2.7\n\
    -A POSTROUTING -d 10.0.0.78/32 -j NETMAP --to 198.51.100.0/24\nCOMMIT\n";

/// Ports are chosen at random.
const RANDOM: &str = "*nat\n-A POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n";

/// Packets at milliseconds, one after the other, under some rules.
fn play(text: &str, settings: &[&str], steps: &[(u64, &str)]) -> (Vec<Tracked>, usize) {
    let (ruleset, node) = (rules(text), node());
    let mut given = Settings::default();
    for line in settings {
        given.set(line).expect("a setting");
    }
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, given);
    let each = steps
        .iter()
        .map(|(at, text)| go(&mut tracker, &node, *at, text));
    let all = each.collect();
    (all, tracker.connections())
}

fn unknown(tracked: &Tracked) -> Option<Fact> {
    match tracked.traced.decision.disposition {
        Disposition::Unknown(unknown) => Some(unknown.fact),
        _ => None,
    }
}

/// The last packet's fact; `None`: its decision is known.
fn last_unknown(text: &str, settings: &[&str], steps: &[(u64, &str)]) -> Option<Fact> {
    unknown(play(text, settings, steps).0.last().expect("a packet"))
}

const LIMIT: &str = "udp 10.0.0.9:4000 > 10.0.0.66:53";

#[test]
fn a_vague_connection_may_be_meant_by_what_comes_back() {
    let after = |text| last_unknown(LIMITED, &[], &[(0, LIMIT), (9, text)]);
    // Its own packets, and answers to what its source may have become.
    for text in [
        LIMIT,
        "udp 10.0.0.66:53 > 10.0.0.9:4000",
        "udp 10.0.0.1:53 > 10.0.0.9:7",
        "udp 10.0.0.1:53 > 192.168.0.2:7",
        "udp 10.0.0.1:53 > 192.0.2.7:7",
        "udp 10.0.0.1:53 > 198.51.100.200:7",
    ] {
        assert!(matches!(after(text), Some(Fact::Match(_))), "{text}");
    }
    for text in [
        "udp 10.0.0.1:53 > 10.0.0.8:4000",
        "udp 10.0.0.1:53 > 192.0.2.8:7",
        "udp 10.0.0.1:53 > 198.51.101.1:7",
        "tcp 10.0.0.1:53 > 10.0.0.9:7",
    ] {
        assert_eq!(after(text), None, "{text}");
    }
}

#[test]
fn a_vague_connection_is_over_with_its_longest_timeout() {
    let answer = "udp 10.0.0.1:53 > 10.0.0.9:7";
    let at = |time| last_unknown(LIMITED, &[], &[(0, LIMIT), (time, answer)]);
    assert!(at(119_999).is_some());
    assert_eq!(at(120_000), None);
}

#[test]
fn beside_a_vague_connection_a_port_may_be_taken() {
    let (udp, tcp) = (
        "udp 10.0.0.8:4000 > 10.0.0.77:53",
        "tcp 10.0.0.8:4000 > 10.0.0.77:53 flags=S",
    );
    let after = |at, text| {
        let (all, _) = play(LIMITED, &[], &[(0, LIMIT), (at, text)]);
        header(&all[1])
    };
    assert_eq!(after(9, udp), "?:? > 10.0.0.77:53");
    assert_eq!(after(119_999, udp), "?:? > 10.0.0.77:53");
    assert_eq!(after(120_000, udp), "192.0.2.7:4000 > 10.0.0.77:53");
    assert_eq!(after(9, tcp), "192.0.2.7:4000 > 10.0.0.77:53");
    let (all, _) = play(LIMITED, &[], &[(9, udp)]);
    assert_eq!(header(&all[0]), "192.0.2.7:4000 > 10.0.0.77:53");
}

#[test]
fn a_packet_that_may_be_anothers_leaves_a_vague_connection_where_there_is_room() {
    let steps = [
        (0, LIMIT),
        (9, "udp 10.0.0.1:53 > 10.0.0.9:7"),
        (9, "udp 10.0.0.2:53 > 10.0.0.9:7"),
    ];
    // Beside as many as there may be, as many again.
    let left = |max: &str| play(LIMITED, &[max], &steps).1;
    assert_eq!(left("nf_conntrack_max=1"), 2);
    assert_eq!(left("nf_conntrack_max=2"), 3);
    // Each is there once.
    let (all, left) = play(LIMITED, &[], &[steps[0], steps[1], steps[1], steps[0]]);
    assert_eq!((all.len(), left), (4, 2));
}

#[test]
fn what_may_be_two_open_connections_leaves_a_vague_one() {
    let steps = [
        (0, "udp 10.0.0.9:4000 > 10.0.0.1:53"),
        (1, "udp 10.0.0.8:4000 > 10.0.0.1:53"),
        (2, "udp 10.0.0.1:53 > 192.168.0.2:9 hook=prerouting"),
    ];
    let (all, left) = play(RANDOM, &[], &steps);
    assert_eq!((unknown(&all[2]), left), (Some(Fact::NatAddress), 3));
    let again = [&steps[..], &[(3, steps[2].1)]].concat();
    let (all, left) = play(RANDOM, &[], &again);
    assert_eq!((unknown(&all[3]), left), (Some(Fact::NatAddress), 3));
}

#[test]
fn a_connection_is_over_at_its_deadline() {
    let first = (0, "udp 10.0.0.9:4000 > 10.0.0.1:53");
    let state = |at| {
        let answer = (at, "udp 10.0.0.1:53 > 10.0.0.9:4000");
        play(
            "*nat\nCOMMIT\n*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n",
            &[],
            &[first, answer],
        )
        .0[1]
            .ctstate
    };
    assert_eq!(state(29_999), CtState::Established);
    assert_eq!(state(30_000), CtState::New);
    // So is one with an open source.
    let state = |at| {
        let answer = (at, "udp 10.0.0.1:53 > 192.168.0.2:9 hook=prerouting");
        play(RANDOM, &[], &[first, answer]).0[1].ctstate
    };
    assert_eq!(state(29_999), CtState::Established);
    assert_eq!(state(30_000), CtState::New);
}

#[test]
fn a_mapping_is_kept_as_long_as_its_connection() {
    let text = "*nat\n-A POSTROUTING -d 10.0.0.1/32 -p udp -j SNAT --to-source 192.0.2.7:5000\n\
        -A POSTROUTING -d 10.0.0.2/32 -j SNAT --to-source 192.0.2.0-192.0.2.9\nCOMMIT\n";
    let second = |at| {
        let steps = [
            (0, "udp 10.0.0.9:4000 > 10.0.0.1:53"),
            (at, "udp 10.0.0.9:4000 > 10.0.0.2:53"),
        ];
        header(&play(text, &[], &steps).0[1])
    };
    assert_eq!(second(29_999), "192.0.2.7:5000 > 10.0.0.2:53");
    assert_eq!(second(30_000), "?:4000 > 10.0.0.2:53");
}

#[test]
fn silence_of_an_established_connection_rests_on_acknowledgments() {
    let open = [
        (0, "tcp 10.0.0.9:4000 > 10.0.0.1:80 flags=S"),
        (0, "tcp 10.0.0.1:80 > 10.0.0.9:4000 flags=SA"),
        (0, "tcp 10.0.0.9:4000 > 10.0.0.1:80 flags=A"),
    ];
    let rests = |steps: &[(u64, &str)], settings: &[&str]| {
        let (all, _) = play(RANDOM, settings, steps);
        let last = all.last().expect("a packet");
        assert_eq!(last.ctstate, CtState::Established);
        last.traced.assumptions.contains(&Assumption::Acknowledged)
    };
    let open = open.map(|(at, text)| {
        (
            at,
            text.replace("10.0.0.1:80 > 10.0.0.9:4000", "10.0.0.1:80 > 192.168.0.2:9"),
        )
    });
    let open: Vec<(u64, &str)> = open.iter().map(|(at, text)| (*at, text.as_str())).collect();
    let later = |at| [&open[..], &[(at, open[2].1)]].concat();
    assert!(!rests(&later(299_999), &[]));
    assert!(!rests(&later(300_000), &[]));
    assert!(rests(&later(300_001), &[]));
    let less = ["nf_conntrack_tcp_timeout_max_retrans=5"];
    assert!(rests(&later(5_001), &less));
    let closing = "tcp 10.0.0.9:4000 > 10.0.0.1:80 flags=FA";
    let closed = [&open[..], &[(0, closing), (9_000, closing)]].concat();
    assert!(!rests(&closed, &less));
}

#[test]
fn an_error_about_an_open_source_closes_it() {
    let (ruleset, node) = (rules(RANDOM), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    go(&mut tracker, &node, 0, "udp 10.0.0.9:4000 > 10.0.0.1:53");
    let sent = "udp 192.168.0.2:50000 > 10.0.0.1:53 hook=prerouting";
    let error = "icmp 10.9.9.9 > 192.168.0.2 type=3 code=1 hook=prerouting";
    let packet = |text| spec::parse(text).expect("a packet").packet(&node);
    let mut datagram = Datagram::new(packet(error));
    datagram.carried = Tuple::of(&Datagram::new(packet(sent)));
    let mut own = datagram.clone();
    own.packet.hook = kpclass_ruleset::Hook::Output;
    let at = Duration::from_millis(1);
    // One that this node sends is none of the server's.
    assert_eq!(
        tracker.clone().decide(&own, at, 0).ctstate,
        CtState::Invalid
    );
    let told = tracker.decide(&datagram, at, 0);
    assert_eq!(told.ctstate, CtState::Related);
    assert_eq!(told.traced.assumptions, [Assumption::NatSource]);
    let later = go(&mut tracker, &node, 2, "udp 10.0.0.9:4000 > 10.0.0.1:53");
    assert_eq!(header(&later), "192.168.0.2:50000 > 10.0.0.1:53");
}

#[test]
fn an_id_that_nat_draws_is_not_known() {
    let echo = "icmp 10.0.0.9 > 10.0.0.1 type=8";
    let (ruleset, node) = (rules(RANDOM), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    let mut datagram = Datagram::new(spec::parse(echo).expect("a packet").packet(&node));
    datagram.icmp_id = Some(7);
    let tracked = tracker.decide(&datagram, Duration::ZERO, 0);
    assert_eq!(unknown(&tracked), Some(Fact::NatAddress));
}

#[test]
fn what_a_packet_does_not_show_is_not_known() {
    let (ruleset, node) = (rules(LIMITED), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    let text = "tcp 10.0.0.9:4000 > 10.0.0.1:80";
    let mut datagram = Datagram::new(spec::parse(text).expect("a packet").packet(&node));
    let mut decide = |datagram: &Datagram| tracker.decide(datagram, Duration::ZERO, 0);
    datagram.packet.tcp_flags = None;
    assert_eq!(unknown(&decide(&datagram)), Some(Fact::Conntrack));
    // What arrives broken is INVALID; the node sends nothing broken.
    let mut broken = Datagram::new(spec::parse(text).expect("a packet").packet(&node));
    broken.is_broken = true;
    assert_eq!(decide(&broken).ctstate, CtState::Invalid);
    broken.packet.hook = kpclass_ruleset::Hook::Output;
    assert_eq!(decide(&broken).ctstate, CtState::New);
}

#[test]
fn lists_are_not_known_of_who_was_not_understood() {
    let text = "*mangle\n-A PREROUTING -p tcp -m recent --rcheck --name L -j DROP\n\
        -A PREROUTING -d 10.0.0.66/32 -m limit --limit 1/sec -m recent --set --name L\n\
        -A PREROUTING -d 10.0.0.66/32 -m limit --limit 1/sec -j DROP\nCOMMIT\n";
    let then = |asked| last_unknown(text, &[], &[(0, LIMIT), (1, asked)]);
    assert!(then("tcp 10.0.0.9:1 > 10.0.0.1:2 flags=S").is_some());
    assert!(then("tcp 10.0.0.66:1 > 10.0.0.1:2 flags=S").is_some());
    assert_eq!(then("tcp 10.0.0.8:1 > 10.0.0.1:2 flags=S"), None);
}

#[test]
fn a_rule_that_was_replaced_is_named_no_more() {
    let (before, after, node) = (rules(LIMITED), rules(RANDOM), node());
    let walk = |ruleset| Walk::new(ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk(&before), Settings::default());
    let rule = |tracked: &Tracked| match tracked.traced.decision.disposition {
        Disposition::Unknown(unknown) => unknown.rule,
        _ => panic!("it is known: {tracked:?}"),
    };
    assert!(rule(&go(&mut tracker, &node, 0, LIMIT)).is_some());
    tracker.replace(walk(&after));
    assert_eq!(rule(&go(&mut tracker, &node, 1, LIMIT)), None);
}
