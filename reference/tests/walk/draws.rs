//! WALK.md 5: the numbers drawn, and exact probabilities.

use crate::support::{all_outcomes, nobody, outcomes, packet, rules};
use kpclass_reference::{Probability, Walk};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::decision::{Disposition, Fact};
use kpclass_workload::corpus::describe;

const PACKET: &str = "tcp 10.0.0.1:1 > 10.0.0.2:80";

/// kube-proxy's chain for so many endpoints, with probabilities as `iptables-save` prints them.
fn balanced(endpoints: usize) -> Ruleset {
    let mut text = String::from("*nat\n:SVC -\n-A PREROUTING -j SVC\n");
    for i in 0..endpoints {
        let left = endpoints - i;
        let chance = match left {
            1 => String::new(),
            _ => format!(
                "-m statistic --mode random --probability {:.11} ",
                1.0 / left as f64
            ),
        };
        let to = format!("10.{}.{}.{}", 1 + i / 62500, i / 250 % 250, 1 + i % 250);
        text.push_str(&format!(
            "-A SVC -p tcp {chance}-j DNAT --to-destination {to}:8080\n"
        ));
    }
    rules(&text)
}

fn sum(rules: &Ruleset, spec: &str) -> Probability {
    all_outcomes(rules, &nobody(), spec)
        .iter()
        .fold(Probability::zero(), |sum, o| sum.plus(&o.probability))
}

#[test]
fn hits_come_first() {
    let rules = balanced(2);
    let node = nobody();
    let pieces = Walk::new(&rules, &node)
        .unwrap()
        .partition(&packet(PACKET, &node));
    let lasts: Vec<u64> = pieces.iter().map(|p| p.last).collect();
    assert_eq!(lasts, [(1 << 63) - 1, u64::MAX]);
    assert_eq!(
        describe(&rules, &pieces[0].decision),
        "forward dnat=10.1.0.1:8080"
    );
}

#[test]
fn decide_agrees_with_partition_at_every_border() {
    let node = nobody();
    for endpoints in [1, 2, 3, 7, 50] {
        let rules = balanced(endpoints);
        let walk = Walk::new(&rules, &node).unwrap();
        let packet = packet(PACKET, &node);
        let pieces = walk.partition(&packet);
        assert_eq!(pieces.len(), endpoints);
        assert_eq!(pieces.last().unwrap().last, u64::MAX);
        let at = |draw: u64| &pieces.iter().find(|p| draw <= p.last).unwrap().decision;
        for border in pieces.iter().map(|p| p.last).chain([0]) {
            for draw in [border.saturating_sub(1), border, border.saturating_add(1)] {
                assert_eq!(
                    &walk.decide(&packet, draw).decision,
                    at(draw),
                    "{endpoints} endpoints, {draw}"
                );
            }
        }
    }
}

#[test]
fn probability_zero_never_one_always_inverted_swaps() {
    let with = |chance: &str| {
        rules(&format!(
            "*filter\n-A FORWARD -m statistic --mode random {chance} -j DROP"
        ))
    };
    assert_eq!(
        outcomes(&with("--probability 0.00000000000"), &nobody(), PACKET),
        [("1/1".into(), "forward".into())]
    );
    assert_eq!(
        outcomes(&with("--probability 1.00000000000"), &nobody(), PACKET),
        [("1/1".into(), "drop by FORWARD 1".into())]
    );
    let quarter = outcomes(&with("! --probability 0.25000000000"), &nobody(), PACKET);
    assert_eq!(
        quarter[0],
        ("3/4".to_string(), "drop by FORWARD 1".to_string())
    );
    let node = nobody();
    let inverted = with("! --probability 0.25000000000");
    let pieces = Walk::new(&inverted, &node)
        .unwrap()
        .partition(&packet(PACKET, &node));
    assert_eq!(pieces[0].last, (1 << 62) - 1);
    assert_eq!(
        describe(&inverted, &pieces[0].decision),
        "forward",
        "the hits are the first quarter all the same"
    );
}

#[test]
fn a_draw_before_a_false_match_is_not_given_back() {
    let rules = rules(
        "*filter\n-A FORWARD -m statistic --mode random --probability 0.5 -m length --length 1:2 -j DROP\n-A FORWARD -m statistic --mode random --probability 0.5 -j DROP",
    );
    let node = nobody();
    let spec = format!("{PACKET} length=60");
    let pieces = Walk::new(&rules, &node)
        .unwrap()
        .partition(&packet(&spec, &node));
    let quarters: Vec<u64> = pieces.iter().map(|p| p.last >> 62).collect();
    assert_eq!(quarters, [0, 1, 2, 3], "each half is drawn again");
}

#[test]
fn five_thousand_endpoints() {
    let rules = balanced(5000);
    let node = nobody();
    let walk = Walk::new(&rules, &node).unwrap();
    let packet = packet(PACKET, &node);
    let pieces = walk.partition(&packet);
    assert_eq!(pieces.len(), 5000);
    let outcomes = walk.outcomes(&packet);
    assert_eq!(outcomes.len(), 5000);
    for piece in pieces.iter().step_by(499) {
        assert_eq!(walk.decide(&packet, piece.last).decision, piece.decision);
    }
}

#[test]
fn a_thousand_endpoints_sum_to_one_exactly() {
    assert!(sum(&balanced(1000), PACKET).is_one());
}

#[test]
fn draws_that_double_forever_are_given_up() {
    let mut text = String::from("*mangle\n");
    for i in 0..32 {
        text.push_str(&format!(
            "-A FORWARD -m statistic --mode random --probability 0.5 -j MARK --set-xmark {:#x}/0x0\n",
            1u32 << i
        ));
    }
    let rules = rules(&text);
    let node = nobody();
    let walk = Walk::new(&rules, &node).unwrap();
    let packet = packet(PACKET, &node);
    let pieces = walk.partition(&packet);
    assert!(pieces.len() < 200_000);
    let Disposition::Unknown(unknown) = pieces.last().unwrap().decision.disposition else {
        panic!("all numbers were followed");
    };
    assert_eq!(unknown.fact, Fact::TooMany);
    assert!(unknown.rule.is_some(), "the rule whose draw was too many");
    assert!(
        !walk.decide(&packet, u64::MAX).decision.is_unknown(),
        "one number has one way"
    );
}

#[test]
fn numbers_that_lead_to_the_same_are_one_piece() {
    let half = "-m statistic --mode random --probability 0.5";
    let rules = rules(&format!("*filter\n-A FORWARD {half} -j LOG"));
    let node = nobody();
    let walk = Walk::new(&rules, &node).unwrap();
    let pieces = walk.partition(&packet(PACKET, &node));
    let [piece] = &pieces[..] else {
        panic!("{pieces:?}");
    };
    assert_eq!(piece.last, u64::MAX);
}
