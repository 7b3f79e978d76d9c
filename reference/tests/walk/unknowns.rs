//! WALK.md 4: what is missing is named where it matters, and only there.

use crate::support::{ask, nobody, outcomes, rules};

const PACKET: &str = "tcp 10.0.0.1:1 > 10.0.0.2:80";

fn forward(lines: &str) -> String {
    ask(&rules(&format!("*filter\n{lines}")), &nobody(), PACKET)
}

const IN: &str = "the interface that the packet arrived on";

#[test]
fn an_unknown_that_changes_nothing_is_not_mentioned() {
    assert_eq!(forward("-A FORWARD -i eth0 -j ACCEPT"), "forward");
    assert_eq!(
        forward("-A FORWARD -i eth0 -j LOG\n-A FORWARD -j DROP"),
        "drop by FORWARD 2"
    );
    assert_eq!(
        forward("-A FORWARD -i eth0\n-A FORWARD -j DROP"),
        "drop by FORWARD 2"
    );
}

#[test]
fn an_unknown_that_decides_names_rule_and_fact() {
    assert_eq!(
        forward("-A FORWARD -j LOG\n-A FORWARD -i eth0 -j DROP"),
        format!("unknown at FORWARD 2: {IN}")
    );
}

#[test]
fn two_drops_by_different_rules_are_different_decisions() {
    assert_eq!(
        forward("-A FORWARD -i eth0 -j DROP\n-A FORWARD -j DROP"),
        format!("unknown at FORWARD 1: {IN}")
    );
}

#[test]
fn false_beats_unknown_and_the_first_unknown_names_the_fact() {
    assert_eq!(forward("-A FORWARD -i eth0 -p udp -j DROP"), "forward");
    assert_eq!(
        forward("-A FORWARD -i eth0 -m limit --limit 1/sec -j DROP"),
        format!("unknown at FORWARD 1: {IN}")
    );
    assert_eq!(
        forward("-A FORWARD -m limit --limit 1/sec -m length --length 40 -j DROP"),
        "unknown at FORWARD 1: match limit is not decided by one packet"
    );
}

#[test]
fn the_earlier_of_two_unknown_rules_is_named() {
    let lines = "-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -i eth1 -j DROP";
    assert_eq!(forward(lines), format!("unknown at FORWARD 1: {IN}"));
    let lines = "-A FORWARD -i eth0 -j RETURN\n-A FORWARD -i eth1 -j ACCEPT\n-A FORWARD -m length --length 40 -j DROP";
    assert_eq!(forward(lines), format!("unknown at FORWARD 1: {IN}"));
}

#[test]
fn an_unmodelled_target_is_unknown_where_it_is_reached() {
    let lines =
        "-A FORWARD -p udp -j NFQUEUE --queue-num 1\n-A FORWARD -p tcp -j NFQUEUE --queue-num 2";
    assert_eq!(
        forward(lines),
        "unknown at FORWARD 2: target NFQUEUE is not modelled"
    );
}

#[test]
fn too_many() {
    let forks = |n: usize| {
        (0..n)
            .map(|i| format!("-A FORWARD -i eth{i} -j ACCEPT\n"))
            .collect::<String>()
    };
    assert_eq!(forward(&forks(10)), "forward");
    // The eleventh ends only the way on which the ten before it do not match; what that way is compared with says nothing either.
    let eleventh = "unknown at FORWARD 11: too many facts are missing on this packet's way";
    assert_eq!(forward(&forks(11)), eleventh);
    let direct = format!(
        "{}-A FORWARD -i eth10 -j ACCEPT",
        "-A FORWARD -i eth0 -j MARK --set-xmark 0x0/0x0\n".repeat(10)
    );
    assert_eq!(forward(&direct), eleventh);
}

#[test]
fn unknown_for_some_numbers_only() {
    let rules = rules(
        "*filter\n-A FORWARD -m statistic --mode random --probability 0.5 -j DROP\n-A FORWARD -i eth0 -j DROP",
    );
    let said = outcomes(&rules, &nobody(), PACKET);
    let expected = [
        ("1/2", "drop by FORWARD 1".to_string()),
        ("1/2", format!("unknown at FORWARD 2: {IN}")),
    ];
    assert_eq!(said, expected.map(|(p, line)| (p.to_string(), line)));
}

#[test]
fn a_draw_behind_an_unknown_match_is_drawn_where_that_is_true() {
    let rules = rules(
        "*filter\n-A FORWARD -i eth0 -m statistic --mode random --probability 0.5 -j DROP\n-A FORWARD -m statistic --mode random --probability 0.5 -j DROP",
    );
    // Matched: first half dropped by rule 1, third quarter by rule 2. Passed: first half dropped by rule 2, the rest not.
    let said = outcomes(&rules, &nobody(), PACKET);
    let expected = [
        ("3/4", format!("unknown at FORWARD 1: {IN}")),
        ("1/4", "forward".to_string()),
    ];
    assert_eq!(said, expected.map(|(p, line)| (p.to_string(), line)));
}
