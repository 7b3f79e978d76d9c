//! WALK.md 3.5 and 1.1: what is asked of a ruleset once.

use crate::support::{nobody, rules};
use kpclass_reference::Walk;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{FileId, Ruleset, RulesetBuilder, Source, TableId};

/// Chains of filter, each with jumps (or gotos) to others.
fn jumping(jumps: &[(&str, &str, bool)]) -> Ruleset {
    let mut builder = RulesetBuilder::new(Family::V4);
    for (from, to, goto) in jumps {
        let from = builder.chain(TableId::Filter, from);
        let to = builder.chain(TableId::Filter, to);
        let target = if *goto {
            Target::Goto(to)
        } else {
            Target::Jump(to)
        };
        builder.declare(to);
        builder.push(
            from,
            [],
            target,
            Source {
                file: FileId(0),
                line: 1,
            },
            None,
        );
    }
    builder.finish(vec!["test".into()])
}

#[test]
fn chains_that_lead_back_to_themselves_are_refused() {
    let node = nobody();
    for loops in [
        &[("a", "a", false)][..],
        &[("a", "a", true)],
        &[
            ("FORWARD", "a", false),
            ("a", "b", false),
            ("b", "c", true),
            ("c", "a", false),
        ],
    ] {
        let rules = jumping(loops);
        let error = Walk::new(&rules, &node).map(|_| ()).unwrap_err();
        assert_eq!(error.chain(), "a");
        assert_eq!(
            error.to_string(),
            "chain a of table filter leads back to itself"
        );
    }
}

#[test]
fn a_chain_reached_twice_is_no_loop() {
    let rules = jumping(&[
        ("FORWARD", "a", false),
        ("FORWARD", "b", false),
        ("a", "c", false),
        ("b", "c", true),
        ("a", "b", false),
    ]);
    assert!(Walk::new(&rules, &nobody()).is_ok());
}

#[test]
fn what_turns_conntrack_on() {
    let is_on = |text: &str| {
        Walk::new(&rules(text), &nobody())
            .unwrap()
            .is_conntrack_on()
    };
    assert!(!is_on("*filter\n-A INPUT -p tcp -j ACCEPT"));
    assert!(!is_on("*raw\n-A PREROUTING -j CT --notrack"));
    assert!(is_on("*raw\n-A PREROUTING -j CT --zone 3"));
    assert!(is_on("*mangle\n-A PREROUTING -j CONNMARK --save-mark"));
    assert!(
        is_on("*nat\n-A POSTROUTING -j KUBE-POSTROUTING"),
        "its body masquerades"
    );
    assert!(
        is_on("*nat\n-A PREROUTING -j KUBE-MARK-MASQ"),
        "nat POSTROUTING was cut away"
    );
    assert!(!is_on(
        "*nat\n-A PREROUTING -j KUBE-MARK-MASQ\n-A POSTROUTING -j RETURN"
    ));
}
