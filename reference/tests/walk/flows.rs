//! Every flow of kube-proxy's own unit tests, in three spellings of the rules; each agrees with the kernel.

use crate::support::{all_outcomes, read_rules};
use kpclass_reference::Outcome;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::decision::{Disposition, Snat};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_workload::corpus::{describe, nat};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const SPELLINGS: [&str; 3] = ["rules", "nft.save", "legacy.save"];

#[test]
fn every_flow_in_three_spellings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/flows");
    let mut asked = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let case: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let node = node_of(&case);
        for spelling in SPELLINGS {
            let text = std::fs::read_to_string(path.with_extension(spelling)).unwrap();
            let rules = read_rules(&text);
            for flow in case["flows"].as_array().unwrap() {
                asked += 1;
                if let Err(difference) = check(&rules, &node, flow) {
                    failures.push(format!("{} ({spelling}): {difference}", path.display()));
                }
            }
        }
    }
    assert_eq!(asked, 3 * 229);
    assert!(
        failures.is_empty(),
        "{} of {asked}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn node_of(case: &Value) -> NodeFacts {
    let addresses = case["local_addrs"].as_array().unwrap().iter();
    let addresses = addresses.map(|a| a.as_str().unwrap().parse().unwrap());
    NodeFacts {
        local: Some(LocalAddresses::new(addresses)),
        // kube-proxy sets it where it serves NodePorts on loopback.
        route_localnet: Some(true),
        ..NodeFacts::default()
    }
}

fn check(rules: &Ruleset, node: &NodeFacts, flow: &Value) -> Result<(), String> {
    let text = |key: &str| flow[key].as_str().unwrap();
    let address = |key: &str| match text(key) {
        v6 if v6.contains(':') => format!("[{v6}]"),
        v4 => v4.to_string(),
    };
    let spec = format!(
        "{} {}:40000 > {}:{}",
        text("protocol"),
        address("sourceIP"),
        address("destIP"),
        flow["destPort"]
    );
    let outcomes = all_outcomes(rules, node, &spec);
    let said: BTreeSet<String> = outcomes.iter().map(endpoint).collect();
    let expected: BTreeSet<String> = match &flow["expected"] {
        Value::String(verdict) if verdict == "ACCEPT" => ["".to_string()].into(),
        Value::String(verdict) => [verdict.clone()].into(),
        Value::Array(none) if none.is_empty() => ["".to_string()].into(),
        Value::Array(endpoints) => endpoints
            .iter()
            .map(|e| e.as_str().unwrap().to_string())
            .collect(),
        other => panic!("{other}"),
    };
    let ends = said.contains("DROP") || said.contains("REJECT");
    let masquerades = outcomes
        .iter()
        .all(|o| matches!(o.decision.snat, Some((Snat::Masquerade, _))));
    let never = outcomes.iter().all(|o| o.decision.snat.is_none());
    let masq = flow["masq"].as_bool().unwrap();
    if said == expected && (ends || if masq { masquerades } else { never }) {
        return Ok(());
    }
    let lines: Vec<String> = outcomes
        .iter()
        .map(|o| describe(rules, &o.decision))
        .collect();
    Err(format!(
        "{}: {spec}: expected {expected:?} masq={masq}, not {lines:?}",
        text("name")
    ))
}

/// The endpoint of an outcome, or its end; empty where nothing was rewritten.
fn endpoint(outcome: &Outcome) -> String {
    match outcome.decision.disposition {
        Disposition::Drop => "DROP".into(),
        Disposition::Reject(_) => "REJECT".into(),
        Disposition::Unknown(_) => "UNKNOWN".into(),
        _ => outcome
            .decision
            .dnat
            .map_or(String::new(), |(to, _)| nat(to)),
    }
}
