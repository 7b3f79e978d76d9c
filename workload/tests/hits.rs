//! A trace meets the rules that it is made for, by the reference's word, and what it asks is known.

use kpclass_reference::Walk;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::Family;
use kpclass_workload::hits::{Hits, RulesetHits};
use kpclass_workload::numbers::Numbers;
use kpclass_workload::rulesets::{Generated, Recipe, Shape, generate};
use kpclass_workload::trace::trace;

#[derive(Default)]
struct Found {
    hits: Hits,
    unknown: u64,
    rewritten: u64,
    ended_by_rule: u64,
}

fn walk(generated: &Generated, packets: &[Packet], found: &mut Found) {
    let walk = Walk::new(&generated.ruleset, &generated.node).unwrap();
    let mut hits = RulesetHits::new(&generated.ruleset);
    let mut numbers = Numbers::new(1);
    for packet in packets {
        let traced = walk.decide(packet, numbers.bits());
        hits.packet(traced.path.iter().filter_map(|step| step.rule));
        found.unknown += u64::from(traced.decision.is_unknown());
        found.rewritten += u64::from(traced.decision.dnat.is_some());
        found.ended_by_rule += u64::from(traced.decision.decided_by.is_some());
    }
    found.hits.add(&hits);
}

fn found(shape: Shape) -> Found {
    let mut found = Found::default();
    for seed in 0..60 {
        for family in [Family::V4, Family::V6] {
            let generated = generate(&Recipe::new(shape, family, seed));
            let packets = trace(&generated, 1000, seed);
            assert_eq!(packets.len(), 1000);
            walk(&generated, &packets, &mut found);
        }
    }
    let share = |part: u64| part as f64 / found.hits.packets() as f64;
    eprintln!(
        "{shape:?}: {}  {:.3} unknown, {:.3} rewritten, {:.3} ended by a rule",
        found.hits,
        share(found.unknown),
        share(found.rewritten),
        share(found.ended_by_rule)
    );
    found
}

/// What a trace must show at least, in shares.
struct Bounds {
    packets_that_meet_a_rule: f64,
    rules_a_packet: f64,
    rules_met: f64,
    rewritten: f64,
    ended_by_a_rule: f64,
    /// At most.
    unknown: f64,
}

fn assert_met(shape: Shape, bounds: &Bounds) {
    let found = found(shape);
    let hits = &found.hits;
    let share = |part: u64| part as f64 / hits.packets() as f64;
    assert!(hits.share_of_packets() > bounds.packets_that_meet_a_rule);
    assert!(hits.rules_a_packet() > bounds.rules_a_packet);
    assert!(hits.share_of_rules() > bounds.rules_met);
    assert!(share(found.rewritten) > bounds.rewritten);
    assert!(share(found.ended_by_rule) > bounds.ended_by_a_rule);
    assert!(share(found.unknown) < bounds.unknown);
    for (kind, all, met) in hits.kinds().filter(|(_, all, _)| *all >= 20) {
        assert!(met * 5 > all, "{kind}: {met} of {all} rules were met");
    }
}

#[test]
fn free_rulesets_are_met() {
    assert_met(
        Shape::Free,
        &Bounds {
            packets_that_meet_a_rule: 0.9,
            rules_a_packet: 6.0,
            rules_met: 0.5,
            rewritten: 0.1,
            ended_by_a_rule: 0.05,
            unknown: 0.06,
        },
    );
}

#[test]
fn kube_proxy_rulesets_are_met() {
    assert_met(
        Shape::KubeProxy,
        &Bounds {
            packets_that_meet_a_rule: 0.9,
            rules_a_packet: 7.0,
            rules_met: 0.85,
            rewritten: 0.2,
            ended_by_a_rule: 0.04,
            unknown: 0.02,
        },
    );
}

/// All kinds of matches and targets that the reference decides are in free rulesets.
#[test]
fn free_rulesets_have_every_kind() {
    let found = found(Shape::Free);
    let kinds: Vec<&str> = found.hits.kinds().map(|(kind, ..)| kind).collect();
    // `nfacct` needs an object of its own; the others are what is not decided.
    assert!(
        !kinds
            .iter()
            .any(|kind| kind.contains("undecided") || *kind == "nfacct")
    );
    assert_eq!(kinds.len(), 46, "{kinds:?}");
}
