//! `services` and `dump`.

use crate::packets::RULES;
use crate::program::Place;
use serde_json::Value;

fn place() -> Place {
    let place = Place::new();
    place.file("n.rules", RULES);
    place
}

#[test]
fn services_are_listed_with_ways_and_chances() {
    let text = place().run(&["services", "--rules", "n.rules"]).fine();
    assert!(
        text.contains("ns/web:http") && text.contains("tcp 10.2.0.1:80"),
        "{text}"
    );
    assert!(
        text.contains("10.1.0.2:8080") && text.contains("33.33 %"),
        "{text}"
    );
    assert!(text.contains("cluster IP: no endpoints"), "{text}");
}

#[test]
fn services_as_records_have_their_schema_first() {
    let text = place()
        .run(&["services", "--rules", "n.rules", "--json"])
        .fine();
    let records: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(
        text.lines()
            .all(|line| line.starts_with(r#"{"schema":"kpclass.services/1","service":""#))
    );
    let web = records
        .iter()
        .find(|r| r["service"] == "ns/web:http")
        .expect("the Service");
    let endpoints = web["balancings"][0]["endpoints"]
        .as_array()
        .expect("endpoints");
    assert_eq!(endpoints.len(), 3);
    assert_eq!(endpoints[0]["threshold"], 715_827_883);
    let sum: f64 = endpoints
        .iter()
        .map(|e| e["probability"].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
}

#[test]
fn the_canonical_ruleset_reads_back_as_itself() {
    let place = place();
    let once = place.run(&["dump", "ruleset", "--rules", "n.rules"]).fine();
    let twice = place
        .run_with(&["dump", "ruleset", "--rules", "-"], once.as_bytes())
        .fine();
    assert_eq!(once, twice);
    let rules = |text: &str| text.lines().filter(|line| line.starts_with("-A ")).count();
    assert_eq!(rules(&once), rules(RULES));
}

#[test]
fn every_stage_has_a_text_form_that_is_the_same_each_time() {
    let place = place();
    for (stage, part) in [
        ("graph", "nat KUBE-SERVICES  rules 1\n  1 -> KUBE-SVC-A\n"),
        ("classes", "tcp 10.2.0.1:80"),
        ("program", "\n"),
    ] {
        let once = place.run(&["dump", stage, "--rules", "n.rules"]).fine();
        assert!(once.contains(part), "{stage}:\n{once}");
        assert_eq!(
            place.run(&["dump", stage, "--rules", "n.rules"]).fine(),
            once,
            "{stage}"
        );
    }
}
