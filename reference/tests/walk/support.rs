//! Rulesets from text, packets from a line.

use kpclass_reference::{Outcome, Walk};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;
use kpclass_ruleset::{Ruleset, TableId};
use kpclass_workload::corpus::describe;

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
