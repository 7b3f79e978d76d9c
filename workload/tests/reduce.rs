//! What fails on a big ruleset is shown on a small one.

use kpclass_reference::Walk;
use kpclass_ruleset::decision::Disposition;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{Hook, Ruleset};
use kpclass_workload::cluster::plan::{Feature, Plan};
use kpclass_workload::cluster::write;
use kpclass_workload::edges::Edges;
use kpclass_workload::reduce::{Reduced, reduce, reduce_within};
use kpclass_workload::rulesets::{Recipe, Shape, generate};
use kpclass_workload::trace::trace;
use std::net::IpAddr;

fn ruleset(text: &str) -> Ruleset {
    read(&[Input::new("t", text)]).unwrap().v4.unwrap()
}

fn rules(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("-A ")).count()
}

/// 2,000 rules.
fn cluster() -> String {
    let plan = Plan {
        services: 132,
        endpoints: 4,
        family: Family::V4,
        features: vec![Feature::All],
        seed: 3,
    };
    let mut text = Vec::new();
    write(&plan.cluster().unwrap(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// The rule and the packet that is rewritten to its address, and the address.
fn rewritten(ruleset: &Ruleset) -> (Packet, IpAddr) {
    let node = NodeFacts::default();
    let walk = Walk::new(ruleset, &node).unwrap();
    let dnat = ruleset.rules().filter_map(|(id, rule)| match &rule.target {
        Target::Dnat(range) => Some((id, range.addresses?.0)),
        _ => None,
    });
    let mut edges = Edges::new(ruleset, &[], 1);
    let last: Vec<_> = dnat.collect();
    last.iter()
        .rev()
        .find_map(|(id, address)| {
            let packet = edges.of_rule(*id, 0).into_iter().next()?;
            reaches(&walk, &packet, *address).then_some((packet, *address))
        })
        .unwrap()
}

fn reaches(walk: &Walk<'_>, packet: &Packet, address: IpAddr) -> bool {
    walk.partition(packet).iter().any(|piece| {
        piece
            .decision
            .dnat
            .is_some_and(|(nat, _)| nat.address == Some(address))
    })
}

fn reduce_to(text: &str, packet: &Packet, address: IpAddr) -> Reduced {
    let node = NodeFacts::default();
    reduce(text, packet, &mut |ruleset, _, packet| {
        Walk::new(ruleset, &node).is_ok_and(|walk| reaches(&walk, packet, address))
    })
}

#[test]
fn a_cluster_shrinks_to_the_way_to_one_endpoint() {
    let text = cluster();
    assert!(rules(&text) > 1800, "{}", rules(&text));
    let (packet, address) = rewritten(&ruleset(&text));
    let packet = Packet {
        mark: 0x77,
        ttl: Some(9),
        dscp: Some(3),
        ..packet
    };
    let reduced = reduce_to(&text, &packet, address);
    assert!(rules(&reduced.text) <= 4, "{}", reduced.text);
    assert!(reduced.tries < 600, "{}", reduced.tries);
    assert!(reduced.text.contains(&address.to_string()));
    assert_eq!((reduced.packet.mark, reduced.packet.ttl), (0, None));
    // It is the same again, and small already.
    assert_eq!(reduced, reduce_to(&text, &packet, address));
    let again = reduce_to(&reduced.text, &reduced.packet, address);
    assert_eq!((again.text, again.packet), (reduced.text, reduced.packet));
}

#[test]
fn only_what_fails_is_kept_of_any_ruleset() {
    let mut smallest = 0;
    for seed in 0..6 {
        let generated = generate(&Recipe::new(Shape::Free, Family::V4, seed));
        let node = &generated.node;
        let rejected = |ruleset: &Ruleset, packet: &Packet| {
            Walk::new(ruleset, node).is_ok_and(|walk| {
                let decision = walk.decide(packet, 1 << 62).decision;
                matches!(
                    decision.disposition,
                    Disposition::Drop | Disposition::Reject(_)
                ) && decision.decided_by.is_some()
            })
        };
        let found = trace(&generated, 500, seed)
            .into_iter()
            .find(|packet| rejected(&generated.ruleset, packet));
        let Some(packet) = found else { continue };
        let reduced = reduce(&generated.text, &packet, &mut |ruleset, text, packet| {
            assert_eq!(text, kpclass_ruleset::save::save(ruleset));
            rejected(ruleset, packet)
        });
        // One rule that drops or rejects, with the jumps to it.
        assert!(rules(&reduced.text) <= 6, "{}", reduced.text);
        assert!(reduced.tries < 600);
        smallest += 1;
    }
    assert!(smallest >= 3);
}

/// Rules of one chain, matches of one rule, and what else is in the dump.
#[test]
fn rules_and_matches_that_do_not_matter_go() {
    let others: String = (0..300)
        .map(|i| format!("-A FORWARD -d 198.51.100.{}/32 -j ACCEPT\n", i % 200))
        .collect();
    let text = format!(
        "*mangle\n:FORWARD DROP [0:0]\n:unused - [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n{others}\
         -A FORWARD -s 192.0.2.0/24 -p tcp -m comment --comment here -m tcp --dport 80 -g last\n{others}:last - [0:0]\n\
         -A last -p tcp -m tcp --dport 80 -m mark --mark 0x0/0xff -j DROP\nCOMMIT\n"
    );
    let (from, to) = ("192.0.2.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
    let packet = Packet::new(Hook::Prerouting, 6, from, to, Some((40_000, 80)));
    let node = NodeFacts::default();
    let reduced = reduce(&text, &packet, &mut |ruleset, _, packet| {
        let walk = Walk::new(ruleset, &node).unwrap();
        let decided = walk.decide(packet, 0).decision.decided_by;
        decided.is_some_and(|rule| ruleset.chain_name(ruleset.rule(rule).chain) == "last")
    });
    let wanted = "*filter\n:FORWARD ACCEPT [0:0]\n:last - [0:0]\n-A FORWARD -j last\n-A last -j DROP\nCOMMIT\n";
    assert_eq!(reduced.text.split_once('\n').unwrap().1, wanted);
}

/// The kernel's tools refuse a module without its protocol, so the two go together.
#[test]
fn a_protocol_goes_with_its_module() {
    let text = "*filter\n:FORWARD ACCEPT [0:0]\n\
                -A FORWARD -p tcp -m mark --mark 0x5 -m tcp --dport 80 -j DROP\nCOMMIT\n";
    let (from, to) = ("192.0.2.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
    let packet = Packet::new(Hook::Prerouting, 6, from, to, Some((40_000, 80)));
    let reduced = reduce(text, &packet, &mut |_, text, _| {
        let loads = text.contains("-m tcp") == text.contains("-p tcp");
        loads && text.contains("--mark 0x5 ")
    });
    assert!(
        reduced
            .text
            .contains("-A FORWARD -m mark --mark 0x5 -j DROP\n"),
        "{}",
        reduced.text
    );
}

#[test]
fn what_does_not_fail_or_read_is_left_alone() {
    let packet = Packet::new(
        Hook::Prerouting,
        6,
        "192.0.2.1".parse().unwrap(),
        "192.0.2.2".parse().unwrap(),
        Some((1, 2)),
    );
    let text = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DROP\nCOMMIT\n";
    let reduced = reduce(text, &packet, &mut |_, _, _| false);
    assert_eq!((reduced.text.as_str(), reduced.tries), (text, 1));
    let reduced = reduce("no dump at all", &packet, &mut |_, _, _| true);
    assert_eq!(
        (reduced.text.as_str(), reduced.tries),
        ("no dump at all", 0)
    );
}

/// A judge that needs nearly everything cannot keep the reducer for ever.
#[test]
fn tries_are_bounded() {
    let text = cluster();
    let (packet, _) = rewritten(&ruleset(&text));
    let mut asked = 0;
    let reduced = reduce_within(50, &text, &packet, &mut |ruleset, _, _| {
        asked += 1;
        // As if nearly all rules were needed.
        ruleset.rules().len() > 1700
    });
    assert_eq!((asked, reduced.tries), (50, 50));
    assert!(rules(&reduced.text) > 1700);
}
