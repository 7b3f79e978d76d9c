//! Rulesets from text, packets from a line, decisions as a line.

use kpclass_reference::{Outcome, Walk};
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;
use kpclass_ruleset::{RuleId, Ruleset, TableId};
use std::fmt::Write as _;

/// The rules of an `iptables-save` text as it stands.
pub(crate) fn read_rules(text: &str) -> Ruleset {
    let rules = read(&[Input::new("test", text)])
        .unwrap_or_else(|error| panic!("{}\n{text}", error.report()));
    rules.v4.or(rules.v6).expect("rules of one family")
}

/// The rules of a text in which the built-in chains of each table (and `COMMIT`) may be left out; their policy is ACCEPT.
pub(crate) fn rules(text: &str) -> Ruleset {
    let text = text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let mut full = String::new();
    for section in text.split('*').skip(1) {
        let (table, lines) = section.split_once('\n').unwrap_or((section, ""));
        let hooks = TableId::from_name(table).expect("a table").hooks();
        full.push_str(&format!("*{table}\n"));
        for hook in hooks
            .iter()
            .filter(|hook| !lines.contains(&format!(":{} ", hook.chain())))
        {
            full.push_str(&format!(":{} ACCEPT [0:0]\n", hook.chain()));
        }
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let counters = if line.starts_with(':') { " [0:0]" } else { "" };
            full.push_str(&format!("{line}{counters}\n"));
        }
        full.push_str("COMMIT\n");
    }
    read_rules(&full)
}

/// A node with these addresses.
pub(crate) fn node(addresses: &[&str]) -> NodeFacts {
    let addresses = addresses.iter().map(|a| a.parse().expect("an address"));
    NodeFacts {
        local: Some(LocalAddresses::new(addresses)),
        ..NodeFacts::default()
    }
}

/// A node of which nothing is known.
pub(crate) fn nobody() -> NodeFacts {
    NodeFacts::default()
}

/// The packet of a line.
pub(crate) fn packet(spec: &str, node: &NodeFacts) -> Packet {
    spec::parse(spec)
        .unwrap_or_else(|error| panic!("{spec}: {error}"))
        .packet(node)
}

/// The one decision about a packet, as [`describe`] prints it.
pub(crate) fn ask(rules: &Ruleset, node: &NodeFacts, spec: &str) -> String {
    let walk = Walk::new(rules, node).expect("no loops");
    let pieces = walk.partition(&packet(spec, node));
    assert_eq!(pieces.len(), 1, "one decision: {pieces:?}");
    describe(rules, &pieces[0].decision)
}

/// The outcomes of a packet, each as its probability and [`describe`]'s line.
pub(crate) fn outcomes(rules: &Ruleset, node: &NodeFacts, spec: &str) -> Vec<(String, String)> {
    let outcomes = all_outcomes(rules, node, spec);
    outcomes
        .iter()
        .map(|o| (o.probability.to_string(), describe(rules, &o.decision)))
        .collect()
}

/// The outcomes of a packet.
pub(crate) fn all_outcomes(rules: &Ruleset, node: &NodeFacts, spec: &str) -> Vec<Outcome> {
    Walk::new(rules, node)
        .expect("no loops")
        .outcomes(&packet(spec, node))
}

/// The assumptions that the answer names, as sentences.
pub(crate) fn assumptions(rules: &Ruleset, node: &NodeFacts, spec: &str) -> Vec<String> {
    let traced = Walk::new(rules, node)
        .expect("no loops")
        .decide(&packet(spec, node), 0);
    traced.assumptions.iter().map(ToString::to_string).collect()
}

/// A decision in a line: `forward dnat=10.0.0.1:80 masquerade mark=0x1 marked-by KUBE-SVC 1`.
pub(crate) fn describe(rules: &Ruleset, decision: &Decision) -> String {
    let mut line = decision.disposition.name().to_string();
    let place = |rule: RuleId| {
        format!(
            "{} {}",
            rules.chain_name(rules.rule(rule).chain),
            rules.rulenum(rule)
        )
    };
    match decision.disposition {
        Disposition::Reject(with) => write!(line, " {}", with.name()).unwrap(),
        Disposition::Unknown(unknown) => {
            let at = unknown.rule.map_or("routing".into(), place);
            write!(line, " at {at}: {}", unknown.fact.describe(rules)).unwrap();
        }
        _ => {}
    }
    if let Some(rule) = decision.decided_by {
        write!(line, " by {}", place(rule)).unwrap();
    }
    if let Some((nat, _)) = decision.dnat {
        write!(line, " dnat={}", describe_nat(nat)).unwrap();
    }
    match decision.snat {
        None => {}
        Some((Snat::Masquerade, _)) => line.push_str(" masquerade"),
        Some((Snat::To { addresses, ports }, _)) => {
            write!(line, " snat={addresses:?}:{ports:?}").unwrap()
        }
        Some((Snat::Netmap(to), _)) => write!(line, " netmap={to}").unwrap(),
    }
    if decision.mark != 0 {
        write!(line, " mark={:#x}", decision.mark).unwrap();
    }
    if let Some(rule) = decision.marked_by {
        write!(line, " marked-by {}", place(rule)).unwrap();
    }
    line
}

/// `10.0.0.1:80`, `[fd00::1]:80`, `this-node:80`; without a port the address alone.
pub(crate) fn describe_nat(nat: Nat) -> String {
    match (nat.address, nat.port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, Some(port)) => format!("this-node:{port}"),
        (None, None) => "this-node".into(),
    }
}
