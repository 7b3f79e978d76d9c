//! kube-proxy's own expectations, through `explain --json --packets`: every flow case, in its three spellings.

use crate::program::Place;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_flow_case_in_its_three_spellings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/testdata/flows");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("the flow cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 48, "only {} flow cases", cases.len());
    let wrong: Vec<String> = cases.iter().flat_map(|case| check(case)).collect();
    assert!(
        wrong.is_empty(),
        "{} of the answers are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn check(case: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(case).expect("a flow case");
    let case_record: Value = serde_json::from_str(&text).expect("a flow case is JSON");
    let flows = case_record["flows"].as_array().expect("flows");
    if flows.is_empty() {
        return Vec::new();
    }
    let place = Place::new();
    let packets: String = flows.iter().map(spec).collect();
    place.file("packets", packets);
    let addresses: Vec<&str> = case_record["local_addrs"]
        .as_array()
        .expect("addresses")
        .iter()
        .map(string)
        .collect();
    let mut wrong = Vec::new();
    for spelling in ["rules", "nft.save", "legacy.save"] {
        let rules = case.with_extension(spelling);
        let rules = rules.to_str().expect("a path in UTF-8");
        let arguments = [
            "explain",
            "--json",
            "--rules",
            rules,
            "--packets",
            "packets",
        ];
        let local = ["--local-addrs", &addresses.join(",")];
        let answers = place.run(&[&arguments[..], &local[..]].concat()).fine();
        let answers: Vec<Value> = answers
            .lines()
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect();
        assert_eq!(answers.len(), flows.len(), "{rules}");
        for (flow, answer) in flows.iter().zip(&answers) {
            if let Err(why) = judge(flow, answer) {
                wrong.push(format!("{rules}: {}: {why}\n  {answer}", flow["name"]));
            }
        }
    }
    wrong
}

fn string(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn spec(flow: &Value) -> String {
    let end = |address: &str, port: u64| match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    };
    let source = end(string(&flow["sourceIP"]), 40_000);
    let destination = end(
        string(&flow["destIP"]),
        flow["destPort"].as_u64().expect("a port"),
    );
    format!(
        "{} {source} > {destination}\n",
        string(&flow["protocol"]).to_lowercase()
    )
}

/// Holds an answer against the flow's `expected` (a set of endpoints, or a word) and `masq`.
fn judge(flow: &Value, answer: &Value) -> Result<(), String> {
    if answer["program_agrees"] != true {
        return Err("the program does not agree".to_owned());
    }
    let outcomes = answer["outcomes"].as_array().ok_or("no outcomes")?;
    let sum: f64 = outcomes
        .iter()
        .filter_map(|o| o["probability"].as_f64())
        .sum();
    if (sum - 1.0).abs() > 1e-9 {
        return Err(format!("the probabilities sum to {sum}"));
    }
    let masqueraded = outcomes.iter().any(|o| o["snat"]["kind"] == "masquerade");
    if flow["masq"] != masqueraded {
        return Err(format!("masq is {}", flow["masq"]));
    }
    let passes = |o: &&Value| ["forward", "local", "out"].contains(&string(&o["disposition"]));
    match &flow["expected"] {
        Value::Array(endpoints) if endpoints.is_empty() => {
            let untouched = |o: &Value| passes(&o) && o["dnat"].is_null();
            outcomes
                .iter()
                .all(untouched)
                .then_some(())
                .ok_or("expected untouched".to_owned())
        }
        Value::Array(endpoints) => {
            let expected: BTreeSet<String> =
                endpoints.iter().map(|e| string(e).to_owned()).collect();
            let reached: BTreeSet<String> = outcomes.iter().filter(passes).map(endpoint).collect();
            let all = expected == reached && outcomes.iter().all(|o| passes(&o));
            all.then_some(())
                .ok_or_else(|| format!("expected {expected:?}, reached {reached:?}"))
        }
        Value::String(word) => {
            let expected = match word.as_str() {
                "ACCEPT" => ["forward", "local", "out"].as_slice(),
                "DROP" => &["drop"],
                "REJECT" => &["reject"],
                other => return Err(format!("the case expects {other}")),
            };
            let all = outcomes
                .iter()
                .all(|o| expected.contains(&string(&o["disposition"])));
            all.then_some(()).ok_or_else(|| format!("expected {word}"))
        }
        other => Err(format!("the case expects {other}")),
    }
}

fn endpoint(outcome: &Value) -> String {
    let address = outcome["dnat"]["address"].as_str().unwrap_or("none");
    match address.contains(':') {
        true => format!("[{address}]:{}", outcome["dnat"]["port"]),
        false => format!("{address}:{}", outcome["dnat"]["port"]),
    }
}
