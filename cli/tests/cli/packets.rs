//! `explain`: how packets are asked about, and the contract of its answer.

use crate::program::Place;
use serde_json::Value;

pub(crate) const RULES: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-1 - [0:0]
:KUBE-SEP-2 - [0:0]
:KUBE-SEP-3 - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.2.0.1/32 -p tcp -m comment --comment \"ns/web:http cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SVC-A ! -s 10.1.0.0/16 -d 10.2.0.1/32 -p tcp -m comment --comment \"ns/web:http cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m comment --comment \"ns/web:http -> 10.1.0.1:8080\" -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-1
-A KUBE-SVC-A -m comment --comment \"ns/web:http -> 10.1.0.2:8080\" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-2
-A KUBE-SVC-A -m comment --comment \"ns/web:http -> 10.1.0.3:8080\" -j KUBE-SEP-3
-A KUBE-SEP-1 -s 10.1.0.1/32 -m comment --comment \"ns/web:http\" -j KUBE-MARK-MASQ
-A KUBE-SEP-1 -p tcp -m comment --comment \"ns/web:http\" -m tcp -j DNAT --to-destination 10.1.0.1:8080
-A KUBE-SEP-2 -s 10.1.0.2/32 -m comment --comment \"ns/web:http\" -j KUBE-MARK-MASQ
-A KUBE-SEP-2 -p tcp -m comment --comment \"ns/web:http\" -m tcp -j DNAT --to-destination 10.1.0.2:8080
-A KUBE-SEP-3 -s 10.1.0.3/32 -m comment --comment \"ns/web:http\" -j KUBE-MARK-MASQ
-A KUBE-SEP-3 -p tcp -m comment --comment \"ns/web:http\" -m tcp -j DNAT --to-destination 10.1.0.3:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A FORWARD -s 10.1.0.0/16 -j ACCEPT
-A FORWARD -d 10.1.0.0/16 -j ACCEPT
-A KUBE-SERVICES -d 10.2.0.2/32 -p tcp -m comment --comment \"ns/empty:http has no endpoints\" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
";

/// Explains as JSON; one record a packet.
fn explain(place: &Place, more: &[&str]) -> Vec<Value> {
    place.file("n.rules", RULES);
    let arguments = [
        "explain",
        "--json",
        "--rules",
        "n.rules",
        "--local-addrs",
        "10.9.0.1",
    ];
    let text = place.run(&[&arguments[..], more].concat()).fine();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a record a line"))
        .collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn the_record_has_the_contracts_keys_and_its_numbers_add_up() {
    let place = Place::new();
    let records = explain(&place, &["--packet", "tcp 10.1.0.9:40000 > 10.2.0.1:80"]);
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    let mut expected = vec!["schema", "packet", "outcomes", "program_agrees"];
    expected.sort_unstable();
    assert_eq!(keys(record), expected);
    assert_eq!(record["schema"], "kpclass.explain/1");
    assert_eq!(record["packet"]["spec"], "tcp 10.1.0.9:40000 > 10.2.0.1:80");
    assert_eq!(record["packet"]["hook"], "prerouting");
    assert_eq!(record["program_agrees"], true);
    let outcomes = record["outcomes"].as_array().expect("outcomes");
    assert_eq!(outcomes.len(), 3, "{record}");
    let probabilities: Vec<f64> = outcomes
        .iter()
        .map(|o| o["probability"].as_f64().expect("a number"))
        .collect();
    assert!(
        (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12,
        "{probabilities:?}"
    );
    assert!(
        probabilities.is_sorted_by(|a, b| a >= b),
        "{probabilities:?}"
    );
    let exact: Vec<&str> = outcomes
        .iter()
        .map(|o| o["exact"].as_str().expect("a fraction"))
        .collect();
    assert!(exact.contains(&"715827883/2147483648"), "{exact:?}");
    for outcome in outcomes {
        assert!(
            outcome["mark"].is_u64() && outcome["assumptions"].is_array(),
            "{outcome}"
        );
        assert_eq!(outcome["service"], "ns/web:http");
        let path = outcome["path"].as_array().expect("a path");
        assert_eq!(keys(&path[0]), ["chain", "line", "rule", "table"]);
    }
}

#[test]
fn the_keys_stand_in_the_contracts_order() {
    let place = Place::new();
    place.file("n.rules", RULES);
    let packet = "tcp 192.0.2.7:40000 > 10.2.0.1:80 flags=S";
    let text = place
        .run(&[
            "explain", "--json", "--rules", "n.rules", "--packet", packet,
        ])
        .fine();
    let mut rest = text.as_str();
    let order = [
        "\"schema\":",
        "\"packet\":",
        "\"spec\":",
        "\"hook\":",
        "\"outcomes\":",
        "\"probability\":",
        "\"exact\":",
        "\"disposition\":",
        "\"dnat\":",
        "\"address\":",
        "\"port\":",
        "\"snat\":",
        "\"kind\":",
        "\"mark\":",
        "\"reject_with\":",
        "\"service\":",
        "\"unknown\":",
        "\"assumptions\":",
        "\"path\":",
        "\"table\":",
        "\"chain\":",
        "\"rule\":",
        "\"line\":",
        "\"program_agrees\":",
    ];
    for key in order {
        let at = rest
            .find(key)
            .unwrap_or_else(|| panic!("{key} is missing or early in {text}"));
        rest = &rest[at..];
    }
}

#[test]
fn a_path_names_table_chain_number_and_line() {
    let place = Place::new();
    let records = explain(&place, &["--packet", "tcp 10.1.0.9:40000 > 10.2.0.2:80"]);
    let outcome = &records[0]["outcomes"][0];
    assert_eq!(
        (&outcome["disposition"], &outcome["reject_with"]),
        (&"reject".into(), &"icmp-port-unreachable".into())
    );
    assert_eq!(outcome["service"], "ns/empty:http");
    let last = outcome["path"]
        .as_array()
        .and_then(|path| path.last())
        .expect("a path");
    let line = RULES
        .lines()
        .position(|l| l.contains("no endpoints"))
        .expect("the rule")
        + 1;
    assert_eq!(
        (&last["table"], &last["chain"], &last["rule"], &last["line"]),
        (
            &"filter".into(),
            &"KUBE-SERVICES".into(),
            &1.into(),
            &line.into()
        )
    );
}

#[test]
fn reasons_are_in_service_words() {
    let place = Place::new();
    place.file("n.rules", RULES);
    let ask = |packet: &str| {
        place
            .run(&[
                "explain",
                "--rules",
                "n.rules",
                "--local-addrs",
                "10.9.0.1",
                "--packet",
                packet,
            ])
            .fine()
    };
    assert!(ask("tcp 192.0.2.7:1 > 10.2.0.1:80").contains("source outside the cluster"));
    assert!(ask("tcp 10.1.0.1:1 > 10.2.0.1:80").contains("hairpin: the endpoint reaches itself"));
    assert!(ask("tcp 10.1.0.9:1 > 10.2.0.2:80").contains("no endpoints"));
    assert!(ask("tcp 192.0.2.7:1 > 192.0.2.8:80").contains("filter FORWARD: policy DROP"));
}

#[test]
fn packets_come_from_a_file_or_stdin_in_order() {
    let place = Place::new();
    let packets = "# two\ntcp 10.1.0.9:1 > 10.2.0.1:80\n\n  udp 10.9.0.1:1 > 10.2.0.2:53 # local\n";
    let name = place.file("packets", packets);
    let records = explain(&place, &["--packets", &name]);
    let specs: Vec<&Value> = records.iter().map(|r| &r["packet"]["spec"]).collect();
    assert_eq!(
        specs,
        [
            "tcp 10.1.0.9:1 > 10.2.0.1:80",
            "udp 10.9.0.1:1 > 10.2.0.2:53"
        ]
    );
    assert_eq!(
        records[1]["packet"]["hook"], "output",
        "the source is the node's"
    );
    let arguments = ["explain", "--json", "--rules", "n.rules", "--packets", "-"];
    let text = place.run_with(&arguments, packets.as_bytes()).fine();
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn options_hold_for_packets_that_do_not_say_it_themselves() {
    let place = Place::new();
    let packets = [
        "--packet",
        "tcp 10.1.0.9:1 > 10.2.0.9:80",
        "--packet",
        "tcp 10.1.0.9:1 > 10.2.0.9:80 mark=0x1 hook=prerouting",
    ];
    let options = ["--mark", "0x20", "--hook", "output"];
    let records = explain(&place, &[&packets[..], &options[..]].concat());
    assert_eq!(
        (&records[0]["packet"]["hook"], &records[1]["packet"]["hook"]),
        (&"output".into(), &"prerouting".into())
    );
    assert_eq!(
        (
            &records[0]["outcomes"][0]["mark"],
            &records[1]["outcomes"][0]["mark"]
        ),
        (&0x20.into(), &1.into())
    );
}

#[test]
fn rules_come_from_stdin_gzip_and_zstd_alike() {
    use std::io::Write;
    let place = Place::new();
    let plain = explain(&place, &["--packet", "tcp 10.1.0.9:1 > 10.2.0.1:80"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(RULES.as_bytes()).unwrap();
    place.file("rules.gz", gzip.finish().unwrap());
    place.file("rules.zst", zstd::encode_all(RULES.as_bytes(), 1).unwrap());
    for rules in ["rules.gz", "rules.zst", "-", "ip4:n.rules"] {
        let arguments = [
            "explain",
            "--json",
            "--rules",
            rules,
            "--packet",
            "tcp 10.1.0.9:1 > 10.2.0.1:80",
            "--local-addrs",
            "10.9.0.1",
        ];
        let text = place.run_with(&arguments, RULES.as_bytes()).fine();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            plain[0],
            "{rules}"
        );
    }
}

#[test]
fn colour_only_where_it_is_asked_for() {
    let place = Place::new();
    place.file("n.rules", RULES);
    let arguments = [
        "explain",
        "--rules",
        "n.rules",
        "--packet",
        "tcp 10.1.0.9:1 > 10.2.0.1:80",
    ];
    let plain = place.run(&arguments).fine();
    assert!(!plain.contains('\x1b'), "a pipe is no terminal");
    let coloured = place
        .run(&[&arguments[..], &["--color", "always"]].concat())
        .fine();
    assert!(coloured.contains("\x1b[1m"));
    let mut command = place.command(&arguments);
    let run = crate::program::Run::from(command.env("NO_COLOR", "1").output().unwrap());
    assert_eq!(run.fine(), plain);
}
