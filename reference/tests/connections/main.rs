//! The tracker, where it is easier told in code than in the corpus' sequences.

mod doubts;
mod ways;

use kpclass_reference::Walk;
use kpclass_reference::connections::{Tracked, Tracker};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::conntrack::{CtStatus, Datagram, Settings};
use kpclass_ruleset::decision::{Disposition, Fact};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::CtState;
use std::net::IpAddr;
use std::time::Duration;

const VIP: &str = "*nat\n:PREROUTING ACCEPT\n:POSTROUTING ACCEPT\n\
    -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.5:8080\nCOMMIT\n";

const MASQUERADED: &str = "*nat\n:PREROUTING ACCEPT\n:POSTROUTING ACCEPT\n\
    -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.5:8080\n\
    -A POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n";

fn rules(text: &str) -> Ruleset {
    let rules = read(&[Input::new("rules", text)]).expect("rules");
    rules.v4.expect("IPv4")
}

fn node() -> NodeFacts {
    let address: IpAddr = "192.168.0.2".parse().expect("an address");
    NodeFacts {
        local: Some(LocalAddresses::new([address])),
        ..NodeFacts::default()
    }
}

fn go(tracker: &mut Tracker<'_>, node: &NodeFacts, at: u64, text: &str) -> Tracked {
    let packet = spec::parse(text).expect("a packet").packet(node);
    tracker.decide(&Datagram::new(packet), Duration::from_millis(at), 0)
}

/// `source > destination`, ports included; `?` what is not known.
fn header(tracked: &Tracked) -> String {
    let word = |address: Option<IpAddr>, port: Option<u16>| {
        let address = address.map_or("?".to_owned(), |a| a.to_string());
        format!(
            "{address}:{}",
            port.map_or("?".to_owned(), |p| p.to_string())
        )
    };
    let (from, to) = tracked.header.ports.unwrap_or_default();
    let (source, destination) = (tracked.header.source, tracked.header.destination);
    format!("{} > {}", word(source, from), word(destination, to))
}

#[test]
fn a_connection_is_translated_both_ways_and_its_states_follow() {
    let (ruleset, node) = (rules(VIP), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    let mut step = |at, text: &str| {
        let t = go(&mut tracker, &node, at, text);
        (t.ctstate, header(&t), t.status.to_string())
    };
    let there = "10.0.0.9:4000 > 10.1.0.5:8080".to_owned();
    let back = "10.96.0.1:80 > 10.0.0.9:4000".to_owned();
    let syn = step(0, "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S");
    assert_eq!(syn, (CtState::New, there.clone(), "CONFIRMED,DNAT".into()));
    let again = step(10, "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S");
    assert_eq!(again.0, CtState::New);
    let answer = step(20, "tcp 10.1.0.5:8080 > 10.0.0.9:4000 flags=SA");
    assert_eq!(
        answer,
        (
            CtState::Established,
            back,
            "SEEN_REPLY,CONFIRMED,DNAT".into()
        )
    );
    let ack = step(30, "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=A");
    let assured = "SEEN_REPLY,ASSURED,CONFIRMED,DNAT".to_owned();
    assert_eq!(ack, (CtState::Established, there, assured));
}

#[test]
fn an_open_source_is_closed_by_the_first_reply_that_fits() {
    let (ruleset, node) = (rules(MASQUERADED), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    let first = go(
        &mut tracker,
        &node,
        0,
        "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S",
    );
    assert_eq!(header(&first), "?:? > 10.1.0.5:8080");
    let reply = go(
        &mut tracker,
        &node,
        5,
        "tcp 10.1.0.5:8080 > 192.168.0.2:50123 flags=SA hook=prerouting",
    );
    assert_eq!(header(&reply), "10.96.0.1:80 > 10.0.0.9:4000");
    assert_eq!(reply.traced.assumptions.len(), 1);
    let later = go(
        &mut tracker,
        &node,
        9,
        "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=A",
    );
    assert_eq!(header(&later), "192.168.0.2:50123 > 10.1.0.5:8080");
}

#[test]
fn a_reply_that_fits_two_open_sources_is_unknown() {
    let (ruleset, node) = (rules(MASQUERADED), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    go(
        &mut tracker,
        &node,
        0,
        "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S",
    );
    go(
        &mut tracker,
        &node,
        1,
        "tcp 10.0.0.8:4000 > 10.96.0.1:80 flags=S",
    );
    let reply = go(
        &mut tracker,
        &node,
        5,
        "tcp 10.1.0.5:8080 > 192.168.0.2:50123 flags=SA hook=prerouting",
    );
    let Disposition::Unknown(unknown) = reply.traced.decision.disposition else {
        panic!("{:?}", reply.traced.decision);
    };
    assert_eq!(unknown.fact, Fact::NatAddress);
}

#[test]
fn a_full_table_is_unknown_until_something_is_over() {
    let (ruleset, node) = (rules(VIP), node());
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let mut settings = Settings::default();
    settings.set("nf_conntrack_max=1").expect("a setting");
    let mut tracker = Tracker::new(walk, settings);
    go(&mut tracker, &node, 0, "udp 10.0.0.9:4000 > 10.0.0.1:53");
    let second = go(&mut tracker, &node, 1, "udp 10.0.0.9:4001 > 10.0.0.1:53");
    assert!(second.traced.decision.is_unknown());
    let third = go(
        &mut tracker,
        &node,
        // As long may a connection of UDP live that nobody knows of.
        121_000,
        "udp 10.0.0.9:4001 > 10.0.0.1:53",
    );
    assert_eq!(third.ctstate, CtState::New);
    assert_eq!(tracker.connections(), 1);
}

#[test]
fn rules_that_come_later_do_not_change_a_connection() {
    let (before, after, node) = (
        rules("*nat\n:PREROUTING ACCEPT\n-A PREROUTING -p udp -j REDIRECT\nCOMMIT\n"),
        rules(VIP),
        node(),
    );
    let walk = Walk::new(&before, &node).expect("no loops");
    let mut tracker = Tracker::new(walk, Settings::default());
    let first = go(
        &mut tracker,
        &node,
        0,
        "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S",
    );
    assert!(!first.status.intersects(CtStatus::DNAT));
    tracker.replace(Walk::new(&after, &node).expect("no loops"));
    let later = go(
        &mut tracker,
        &node,
        1,
        "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S",
    );
    assert_eq!(header(&later), "10.0.0.9:4000 > 10.96.0.1:80");
    let other = go(
        &mut tracker,
        &node,
        2,
        "tcp 10.0.0.9:4001 > 10.96.0.1:80 flags=S",
    );
    assert_eq!(header(&other), "10.0.0.9:4001 > 10.1.0.5:8080");
}
