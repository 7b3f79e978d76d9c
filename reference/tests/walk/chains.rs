//! WALK.md 3: rules in order, the jump stack, policies.

use crate::support::{ask, nobody, packet, rules};
use kpclass_reference::{Event, Walk};

const PACKET: &str = "udp 10.0.0.1:4000 > 10.0.0.2:53";

#[test]
fn the_path_names_rules_depth_and_policy() {
    let rules = rules(
        "*filter\n:FORWARD DROP\n:web -\n-A FORWARD -p tcp -j ACCEPT\n-A FORWARD -j web\n-A web -p udp -j RETURN",
    );
    let node = nobody();
    let traced = Walk::new(&rules, &node)
        .unwrap()
        .decide(&packet(PACKET, &node), 7);
    let path: Vec<(String, usize)> = traced
        .path
        .iter()
        .map(|step| match (step.rule, step.event) {
            (Some(rule), event) => {
                let chain = rules.chain_name(rules.rule(rule).chain);
                let event = match event {
                    Event::Jump(_) => "jump",
                    Event::Return => "return",
                    other => panic!("{other:?}"),
                };
                (
                    format!("{chain} {} {event}", rules.rulenum(rule)),
                    step.depth,
                )
            }
            (None, Event::Policy(chain)) => {
                (format!("{} policy", rules.chain_name(chain)), step.depth)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("FORWARD 2 jump", 0),
        ("web 1 return", 1),
        ("FORWARD policy", 0),
    ];
    assert_eq!(
        path,
        expected.map(|(text, depth)| (text.to_string(), depth))
    );
}

#[test]
fn five_thousand_nested_chains_need_no_stack() {
    let mut text = String::from("*filter\n");
    for i in 0..5000 {
        text.push_str(&format!(":c{i} -\n"));
    }
    text.push_str("-A FORWARD -j c0\n-A FORWARD -j DROP\n");
    for i in 0..4999 {
        text.push_str(&format!("-A c{i} -j c{}\n", i + 1));
    }
    assert_eq!(ask(&rules(&text), &nobody(), PACKET), "drop by FORWARD 2");
}

#[test]
fn chains_that_double_forever_are_given_up() {
    let mut text = String::from("*filter\n");
    for i in 0..40 {
        text.push_str(&format!(":c{i} -\n"));
    }
    text.push_str("-A FORWARD -j c0\n");
    for i in 0..39 {
        text.push_str(&format!(
            "-A c{i} -j c{next}\n-A c{i} -j c{next}\n",
            next = i + 1
        ));
    }
    let line = ask(&rules(&text), &nobody(), PACKET);
    assert!(
        line.ends_with("too many facts are missing on this packet's way"),
        "{line}"
    );
}
