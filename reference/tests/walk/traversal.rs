//! WALK.md 1: the tables in order, and what later ones see of earlier ones.

use crate::support::{node, packet, rules};
use kpclass_reference::Walk;
use kpclass_ruleset::TableId;

/// Every table at every hook with a rule that counts; nat has one that rewrites nothing but turns conntrack on.
fn everywhere() -> kpclass_ruleset::Ruleset {
    let mut text = String::new();
    for table in TableId::ALL {
        text.push_str(&format!("*{}\n", table.name()));
        for hook in table.hooks() {
            text.push_str(&format!(
                "-A {} -j MARK --set-xmark 0x0/0x0\n",
                hook.chain()
            ));
        }
        if table == TableId::Security {
            text.push_str("-A FORWARD -m state --state ESTABLISHED -m mark --mark 0x77 -j DROP\n");
        }
    }
    rules(&text)
}

fn tables(spec: &str) -> String {
    let (rules, node) = (everywhere(), node(&["192.168.0.2"]));
    let traced = Walk::new(&rules, &node)
        .unwrap()
        .decide(&packet(spec, &node), 0);
    let steps = traced.path.iter().filter(|step| step.rule.is_some());
    let names = steps.map(|s| {
        format!(
            "{} {}{}",
            s.table.name(),
            s.hook.chain(),
            if s.lo_leg { " lo" } else { "" }
        )
    });
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn tables_in_order() {
    assert_eq!(
        tables("tcp 10.0.0.1:1000 > 10.0.0.2:80"),
        "raw PREROUTING, mangle PREROUTING, nat PREROUTING, mangle FORWARD, filter FORWARD, security FORWARD, \
         mangle POSTROUTING, nat POSTROUTING"
    );
    assert_eq!(
        tables("tcp 10.0.0.1:1000 > 192.168.0.2:80"),
        "raw PREROUTING, mangle PREROUTING, nat PREROUTING, mangle INPUT, filter INPUT, security INPUT, nat INPUT"
    );
    let output = "raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, security OUTPUT, mangle POSTROUTING, nat POSTROUTING";
    assert_eq!(tables("tcp 192.168.0.2:1000 > 10.0.0.2:80"), output);
    assert_eq!(
        tables("tcp 192.168.0.2:1000 > 192.168.0.2:80"),
        format!(
            "{output}, raw PREROUTING lo, mangle PREROUTING lo, mangle INPUT lo, filter INPUT lo, security INPUT lo"
        )
    );
}

#[test]
fn nat_is_asked_about_new_and_related_packets_only() {
    for (ctstate, asked) in [
        ("new", true),
        ("related", true),
        ("established", false),
        ("invalid", false),
        ("untracked", false),
    ] {
        let path = tables(&format!(
            "tcp 10.0.0.1:1000 > 10.0.0.2:80 ctstate={ctstate}"
        ));
        assert_eq!(path.contains("nat PREROUTING"), asked, "{ctstate}");
        assert_eq!(path.contains("nat POSTROUTING"), asked, "{ctstate}");
    }
}
