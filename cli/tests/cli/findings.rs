//! `replay --mode conntrack`: what is wrong with connections is found and named, and where nothing is, nothing is found.

use crate::frames::Frames;
use crate::packets::RULES;
use crate::program::{Place, Run};
use serde_json::Value;

/// A capture of connections under some rules.
fn generate(place: &Place, rules: &str, vantage: &str, capture: &str) {
    place.file("generated.rules", rules);
    let arguments = format!(
        "generate capture --rules generated.rules --local-addrs 10.9.0.1 --hit 1 --connections 40 \
         --vantage {vantage} --frames 6000 --seed 1 -o {capture}"
    );
    place.run(&words(&arguments)).fine();
}

fn words(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

fn replay(place: &Place, rules: &str, capture: &str, more: &str) -> Run {
    place.file("replayed.rules", rules);
    let arguments = format!(
        "replay {capture} --rules replayed.rules --local-addrs 10.9.0.1 --mode conntrack {more}"
    );
    place.run(&words(&arguments))
}

/// A capture under some rules, replayed under others.
fn replay_under(generated: &str, replayed: &str, vantage: &str) -> (Place, Value) {
    let place = Place::new();
    generate(&place, generated, vantage, "c.pcap");
    let run = replay(&place, replayed, "c.pcap", "--json");
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let is_fine = findings(&report).is_empty();
    assert_eq!(
        run.status,
        Some(if is_fine { 0 } else { 1 }),
        "{}",
        run.stderr
    );
    assert_eq!(report["check"]["disagreements"], 0);
    (place, report)
}

fn findings(report: &Value) -> &[Value] {
    let findings = report["connections"]["findings"].as_array();
    findings.expect("findings")
}

/// The rules without the third endpoint.
fn of_two_endpoints() -> String {
    let lines = RULES.lines().filter(|line| !line.contains("KUBE-SEP-3"));
    let lines = lines.map(|line| match line.contains("-> 10.1.0.2:8080") {
        true => line.replace(
            "-m statistic --mode random --probability 0.50000000000 ",
            "",
        ),
        false => line.replace("0.33333333349", "0.50000000000"),
    });
    lines.map(|line| line + "\n").collect()
}

/// The rules without masquerade of sources outside.
fn without_masquerade() -> String {
    let lines = RULES
        .lines()
        .filter(|line| !line.contains("! -s 10.1.0.0/16"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn where_nothing_is_wrong_nothing_is_found() {
    for vantage in ["both", "arriving", "client"] {
        let (_, report) = replay_under(RULES, RULES, vantage);
        assert_eq!(findings(&report), &[] as &[Value], "{vantage}");
        let row = &report["connections"]["services"][0];
        assert_eq!(row["service"], "ns/web:http");
        assert_eq!(row["begun"], report["connections"]["begun"]);
        assert_eq!(row["one_way"], 0, "{vantage}");
        let result = if vantage == "client" {
            "too-few"
        } else {
            "fits"
        };
        assert_eq!(row["balance"]["result"], result, "{vantage}");
    }
}

#[test]
fn a_stale_endpoint_is_named_with_its_connections() {
    for vantage in ["both", "arriving"] {
        let (_, clean) = replay_under(RULES, RULES, vantage);
        let (_, report) = replay_under(RULES, &of_two_endpoints(), vantage);
        let [finding] = findings(&report) else {
            panic!("{vantage}: {:?}", findings(&report));
        };
        assert_eq!(finding["kind"], "stale");
        assert_eq!(finding["service"], "ns/web:http");
        assert_eq!(finding["key"], "tcp 10.2.0.1:80");
        assert_eq!(finding["endpoint"], "10.1.0.3:8080");
        // All of them, and every packet.
        let clean_row = &clean["connections"]["services"][0]["endpoints"][2];
        assert_eq!(finding["connections"], clean_row["shown"], "{vantage}");
        if vantage == "both" {
            let packets = &clean["services"][1]["endpoints"][2]["packets"];
            assert_eq!(&finding["packets"], packets);
        }
        let frame = &finding["frames"][0];
        assert!(
            frame["shown_by"].as_u64() > frame["frame"].as_u64(),
            "{frame}"
        );
        assert_eq!(
            report["connections"]["services"][0]["balance"]["result"],
            "fits"
        );
    }
}

#[test]
fn connections_that_were_there_before_the_capture_are_stale_too() {
    let place = Place::new();
    generate(&place, RULES, "both", "whole.pcap");
    let whole = std::fs::read(place.path().join("whole.pcap")).expect("the capture");
    // Frames of 60 bytes: the first 1 500 are gone.
    let late = [&whole[..24], &whole[24 + 76 * 1500..]].concat();
    place.file("late.pcap", late);
    let run = replay(&place, RULES, "late.pcap", "--json");
    let clean: Value = serde_json::from_str(&run.fine()).expect("JSON");
    assert_eq!(findings(&clean), &[] as &[Value]);
    let unasked = clean["connections"]["unasked"].as_array().expect("rows");
    assert!(
        unasked.iter().any(|row| row["from"] == "10.1.0.1:8080"),
        "{unasked:?}"
    );
    let run = replay(&place, &of_two_endpoints(), "late.pcap", "--json");
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let finding = &findings(&report)[0];
    assert_eq!(finding["kind"], "stale");
    let endpoint = &clean["connections"]["services"][0]["endpoints"][2];
    assert_eq!(finding["connections"], endpoint["shown"]);
}

#[test]
fn a_lost_and_an_unexpected_masquerade_are_named_with_their_frames() {
    let without = without_masquerade();
    for (generated, replayed, kind) in [
        (without.as_str(), RULES, "not-masqueraded"),
        (RULES, without.as_str(), "masqueraded"),
    ] {
        for vantage in ["both", "arriving"] {
            let (_, report) = replay_under(generated, replayed, vantage);
            let [finding] = findings(&report) else {
                panic!("{vantage}: {:?}", findings(&report));
            };
            assert_eq!(finding["kind"], kind, "{vantage}");
            assert_eq!(finding["service"], "ns/web:http");
            assert!(finding["connections"].as_u64() > Some(30), "{finding}");
            if vantage == "both" {
                for frame in finding["frames"].as_array().expect("frames") {
                    let first = frame["frame"].as_u64().expect("a number");
                    assert_eq!(frame["shown_by"].as_u64(), Some(first + 1), "{finding}");
                }
            }
            let rule = finding["rule"].as_str();
            let expected = (kind == "not-masqueraded").then_some("nat KUBE-SVC-A 1 (line 21)");
            assert_eq!(rule, expected);
        }
    }
}

#[test]
fn a_skewed_balance_is_told_from_rules_that_are_uneven() {
    let uneven = RULES.replace("0.33333333349", "0.45000000000");
    let (_, report) = replay_under(&uneven, RULES, "both");
    let [finding] = findings(&report) else {
        panic!("{:?}", findings(&report));
    };
    assert_eq!(
        (&finding["kind"], &finding["key"]),
        (&"skewed".into(), &"tcp 10.2.0.1:80".into())
    );
    let (_, report) = replay_under(&uneven, &uneven, "both");
    let [finding] = findings(&report) else {
        panic!("{:?}", findings(&report));
    };
    assert_eq!(finding["kind"], "unequal");
    assert_eq!(finding["rule"], "nat KUBE-SVC-A 2 (line 22)");
}

#[test]
fn connections_that_were_picked_up_are_not_tested() {
    let place = Place::new();
    let uneven = RULES.replace("0.33333333349", "0.90000000000");
    generate(&place, &uneven, "both", "whole.pcap");
    let whole = std::fs::read(place.path().join("whole.pcap")).expect("the capture");
    // Without the frames of SYNs: Ethernet, IPv4, and TCP's flags, in records of 76 bytes.
    let (header, records) = whole.split_at(24);
    let rest = records.chunks(76).filter(|record| record[16 + 47] & 2 == 0);
    let late: Vec<u8> = header.iter().chain(rest.flatten()).copied().collect();
    place.file("late.pcap", late);
    let report: Value =
        serde_json::from_str(&replay(&place, RULES, "late.pcap", "--json").fine()).expect("JSON");
    let row = &report["connections"]["services"][0];
    assert!(row["endpoints"][0]["shown"].as_u64() > Some(100), "{row}");
    assert_eq!(row["balance"]["result"], "too-few", "{row}");
}

#[test]
fn a_repeated_probability_is_named() {
    let repeated = RULES.replace("0.50000000000", "0.33333333349");
    let (_, report) = replay_under(&repeated, &repeated, "both");
    let [finding] = findings(&report) else {
        panic!("{:?}", findings(&report));
    };
    assert_eq!(finding["kind"], "unequal");
    assert_eq!(finding["rule"], "nat KUBE-SVC-A 3 (line 23)");
    let shares = finding["endpoints"].as_array().expect("endpoints");
    let shares: Vec<f64> = shares
        .iter()
        .filter_map(|e| e["probability"].as_f64())
        .collect();
    for (share, expected) in shares.iter().zip([3.0, 2.0, 4.0]) {
        assert!((share - expected / 9.0).abs() < 1e-6, "{shares:?}");
    }
}

/// The rules with a chain of their own for sources outside, which chooses between the first two endpoints.
fn of_two_ways(probability: &str) -> String {
    let masquerade = RULES.lines().find(|line| line.contains("! -s 10.1.0.0/16"));
    let masquerade = masquerade.expect("a rule");
    let outside =
        "-A KUBE-SVC-A ! -s 10.1.0.0/16 -m comment --comment \"ns/web:http\" -j KUBE-SVL-A";
    let local = format!(
        "-A KUBE-SVL-A -m comment --comment \"ns/web:http -> 10.1.0.1:8080\" -m statistic --mode random \
         --probability {probability} -j KUBE-SEP-1\n\
         -A KUBE-SVL-A -m comment --comment \"ns/web:http -> 10.1.0.2:8080\" -j KUBE-SEP-2"
    );
    RULES
        .replace(masquerade, &format!("{masquerade}\n{outside}\n{local}"))
        .replace(":KUBE-SEP-1 - ", ":KUBE-SVL-A - [0:0]\n:KUBE-SEP-1 - ")
}

#[test]
fn where_the_source_decides_among_which_to_choose_each_choice_is_tested() {
    let even = of_two_ways("0.50000000000");
    let (_, report) = replay_under(&even, &even, "both");
    assert_eq!(findings(&report), &[] as &[Value]);
    let row = &report["connections"]["services"][0];
    assert_eq!(row["balance"]["result"], "fits", "{row}");
    assert_eq!(row["endpoints"][0]["probability"], Value::Null, "{row}");
    let (_, report) = replay_under(&of_two_ways("0.95000000000"), &even, "both");
    let [finding] = findings(&report) else {
        panic!("{:?}", findings(&report));
    };
    assert_eq!(finding["kind"], "skewed");
}

#[test]
fn without_the_nodes_addresses_nothing_is_found_that_may_be_right() {
    let place = Place::new();
    generate(&place, RULES, "both", "c.pcap");
    place.file("n.rules", RULES);
    let arguments = "replay c.pcap --rules n.rules --mode conntrack";
    place.run(&words(arguments)).fine();
}

#[test]
fn endpoints_that_follow_affinity_are_not_tested() {
    let affine = RULES.replace(
        "-A KUBE-SVC-A -m comment --comment \"ns/web:http -> 10.1.0.1:8080\" -m statistic",
        "-A KUBE-SVC-A -m comment --comment \"ns/web:http -> 10.1.0.1:8080\" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-1 \
         --mask 255.255.255.255 --rsource -j KUBE-SEP-1\n\
         -A KUBE-SVC-A -m comment --comment \"ns/web:http -> 10.1.0.1:8080\" -m statistic",
    );
    let (_, report) = replay_under(RULES, &affine, "both");
    let row = &report["connections"]["services"][0];
    assert_eq!(row["balance"]["result"], "affinity", "{row}");
}

/// Rules of one UDP Service.
fn of_udp() -> String {
    RULES.replace("tcp", "udp")
}

/// A question of a client by UDP before nat and behind it, and the answers.
fn udp(server: [u8; 4], ttl: u8) -> Vec<u8> {
    let (client, service) = (([10, 1, 7, 7], 40_000), ([10, 2, 0, 1], 80));
    let mut frames = Frames::new().all_at_once();
    for _ in 0..3 {
        frames = frames
            .udp(client, service, 64)
            .udp(client, (server, 8080), ttl)
            .udp((server, 8080), client, 64)
            .udp(service, client, ttl);
    }
    frames.pcap()
}

#[test]
fn a_stale_endpoint_of_udp_is_known_by_its_ports() {
    let place = Place::new();
    place.file("stale.pcap", udp([10, 1, 0, 9], 63));
    let run = replay(&place, &of_udp(), "stale.pcap", "--json");
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let [finding] = findings(&report) else {
        panic!("{:?}", findings(&report));
    };
    assert_eq!(finding["endpoint"], "10.1.0.9:8080");
    assert_eq!(
        (finding["connections"].as_u64(), finding["packets"].as_u64()),
        (Some(1), Some(6))
    );
    assert_eq!(finding["frames"][0]["frame"], 1);
    // An endpoint that the rules name, and a question that this client asks another server itself.
    place.file("fine.pcap", udp([10, 1, 0, 3], 63));
    replay(&place, &of_udp(), "fine.pcap", "").fine();
    place.file("other.pcap", udp([10, 1, 0, 9], 64));
    replay(&place, &of_udp(), "other.pcap", "").fine();
}

#[test]
fn an_endpoint_of_the_rules_is_not_stale_though_it_is_shown_late() {
    let place = Place::new();
    let (client, service) = (([10, 1, 7, 7], 40_000), ([10, 2, 0, 1], 80));
    let mut frames = Frames::new().all_at_once().udp(client, service, 64);
    // Farther than the frames ahead are looked at.
    for _ in 0..5_000 {
        frames = frames.arp();
    }
    let late = |server| frames.clone().udp(client, (server, 8080), 63).pcap();
    place.file("late.pcap", late([10, 1, 0, 3]));
    replay(&place, &of_udp(), "late.pcap", "").fine();
    place.file("stale.pcap", late([10, 1, 0, 9]));
    let run = replay(&place, &of_udp(), "stale.pcap", "");
    assert_eq!(run.status, Some(1), "{}", run.stderr);
}

#[test]
fn what_is_wrong_stands_in_the_text_and_the_top_can_be_chosen() {
    let place = Place::new();
    generate(&place, RULES, "both", "c.pcap");
    let text = replay(&place, &of_two_endpoints(), "c.pcap", "--top 3");
    assert_eq!(text.status, Some(1), "{}", text.stderr);
    let (_, found) = text.stdout.split_once("\nFindings\n").expect("findings");
    let expected = "  stale endpoint  ns/web:http (tcp 10.2.0.1:80)\n    63 connections went to 10.1.0.3:8080, to which no rule leads: 968 packets";
    assert!(found.starts_with(expected), "{found}");
    let (_, talks) = text
        .stdout
        .split_once("\nWho talks to what\n")
        .expect("talks");
    let rows = talks.lines().take_while(|line| !line.is_empty()).count();
    assert_eq!(rows, 1 + 3 + 1, "{talks}");
}
