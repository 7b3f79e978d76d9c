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
    dropped_by_rule: u64,
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
        found.dropped_by_rule += u64::from(traced.decision.decided_by.is_some());
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
        share(found.dropped_by_rule)
    );
    found
}

#[test]
fn free_rulesets_are_met() {
    found(Shape::Free);
}

#[test]
fn kube_proxy_rulesets_are_met() {
    found(Shape::KubeProxy);
}
