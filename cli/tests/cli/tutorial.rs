//! The tutorial's listing: nat only, the interesting chains only. What it teaches must come out.

use crate::program::{Place, shared};
use serde_json::{Value, json};

/// The one outcome of a packet, as JSON.
fn outcome(packet: &str, more: &[&str]) -> Option<Value> {
    let listing = shared("dumps/tutorial/listing.txt")?;
    let listing = listing.to_str().expect("a path in UTF-8");
    let arguments = ["explain", "--json", "--rules", listing, "--packet", packet];
    let text = Place::new().run(&[&arguments[..], more].concat()).fine();
    let answer: Value = serde_json::from_str(&text).expect("a record");
    assert_eq!(answer["program_agrees"], true, "{packet}");
    let outcomes = answer["outcomes"].as_array().expect("outcomes");
    assert_eq!(outcomes.len(), 1, "{packet}: {answer}");
    Some(outcomes[0].clone())
}

fn endpoint() -> Value {
    json!({"address": "10.10.2.58", "port": 16443})
}

fn rule(outcome: &Value, chain: &str, number: u64) -> bool {
    let path = outcome["path"].as_array().expect("a path");
    path.iter()
        .any(|step| step["chain"] == chain && step["rule"] == number)
}

const SERVICE: &str = "KUBE-SVC-NPX46M4PTMTKRN6Y";
const ENDPOINT: &str = "KUBE-SEP-SZEZPYI4DJWRAXYB";

#[test]
fn a_pod_reaches_the_endpoint_as_itself() {
    let Some(o) = outcome("tcp 10.1.5.5:40000 > 10.152.183.1:443", &[]) else {
        return;
    };
    assert_eq!(
        (&o["disposition"], &o["dnat"]),
        (&json!("forward"), &endpoint())
    );
    assert_eq!((&o["snat"], &o["mark"]), (&Value::Null, &json!(0)));
    assert_eq!(o["service"], "default/kubernetes:https");
    assert!(rule(&o, ENDPOINT, 2) && !rule(&o, SERVICE, 1), "{o}");
}

#[test]
fn a_client_outside_the_cluster_is_masqueraded() {
    let Some(o) = outcome("tcp 192.168.7.9:40000 > 10.152.183.1:443", &[]) else {
        return;
    };
    assert_eq!(
        (&o["disposition"], &o["dnat"]),
        (&json!("forward"), &endpoint())
    );
    assert_eq!(o["snat"], json!({"kind": "masquerade"}));
    assert!(rule(&o, SERVICE, 1), "{o}");
}

#[test]
fn on_the_endpoints_own_node_the_outside_client_is_marked_but_not_masqueraded() {
    let local = ["--local-addrs", "10.10.2.58"];
    let Some(o) = outcome("tcp 192.168.7.9:40000 > 10.152.183.1:443", &local) else {
        return;
    };
    assert_eq!(
        (&o["disposition"], &o["dnat"]),
        (&json!("local"), &endpoint())
    );
    assert_eq!((&o["snat"], &o["mark"]), (&Value::Null, &json!(0x4000)));
    assert!(rule(&o, SERVICE, 1), "{o}");
}

#[test]
fn the_node_that_is_its_own_endpoint_is_masqueraded_by_hairpin() {
    let local = ["--local-addrs", "10.10.2.58"];
    let Some(o) = outcome(
        "tcp 10.10.2.58:40000 > 10.152.183.1:443 hook=output",
        &local,
    ) else {
        return;
    };
    assert_eq!(
        (&o["disposition"], &o["dnat"]),
        (&json!("local"), &endpoint())
    );
    assert_eq!(o["snat"], json!({"kind": "masquerade"}));
    assert!(rule(&o, SERVICE, 1) && rule(&o, ENDPOINT, 1), "{o}");
}

#[test]
fn a_service_whose_chain_was_cut_away_is_unknown() {
    let Some(o) = outcome("tcp 10.1.5.5:40000 > 10.152.183.229:14250", &[]) else {
        return;
    };
    assert_eq!(
        (&o["disposition"], &o["dnat"], &o["snat"]),
        (&json!("unknown"), &Value::Null, &Value::Null)
    );
    let fact = o["unknown"]["fact"].as_str().expect("a fact");
    assert_eq!(fact, "chain KUBE-SVC-EX4PWVDXGVVZMQ46 is not in the dump");
    assert_eq!(o["unknown"]["rule"]["chain"], "KUBE-SERVICES");
    assert_eq!(o["unknown"]["rule"]["rule"], 1);
    assert_eq!(o["unknown"]["option"], "--rules");
}

#[test]
fn a_port_that_no_service_has_is_untouched() {
    let Some(o) = outcome("tcp 10.1.5.5:40000 > 10.152.183.1:80", &[]) else {
        return;
    };
    assert_eq!(
        (&o["disposition"], &o["dnat"], &o["snat"]),
        (&json!("forward"), &Value::Null, &Value::Null)
    );
    assert_eq!(o["service"], Value::Null);
}
