//! `replay`: the contract of its report, and that nothing but the timing depends on how it is run.

use crate::frames::Frames;
use crate::packets::RULES;
use crate::program::Place;
use serde_json::Value;

const SERVICE: ([u8; 4], u16) = ([10, 2, 0, 1], 80);
const EMPTY: ([u8; 4], u16) = ([10, 2, 0, 2], 80);

/// 300 pods to the Service, 100 clients from outside to it, 50 pods to the Service without endpoints, 7 from outside to
/// nowhere (which the policy drops), 5 ARP.
fn traffic() -> Vec<u8> {
    let mut frames = Frames::new();
    for i in 0..300u16 {
        frames = frames.tcp(([10, 1, 1, (i % 200) as u8], 1000 + i), SERVICE);
    }
    for i in 0..100u16 {
        frames = frames.tcp(([192, 0, 2, (i % 50) as u8], 2000 + i), SERVICE);
    }
    for i in 0..50u16 {
        frames = frames.tcp(([10, 1, 2, 1], 3000 + i), EMPTY);
    }
    for i in 0..7u16 {
        frames = frames.tcp(([192, 0, 2, 1], 4000 + i), ([192, 0, 2, 99], 80));
    }
    (0..5).fold(frames, |frames, _| frames.arp()).pcap()
}

fn place() -> Place {
    let place = Place::new();
    place.file("n.rules", RULES);
    place.file("a.pcap", traffic());
    place
}

fn replay(place: &Place, more: &[&str]) -> Value {
    let arguments = [
        "replay",
        "a.pcap",
        "--rules",
        "n.rules",
        "--local-addrs",
        "10.9.0.1",
        "--json",
    ];
    let text = place.run(&[&arguments[..], more].concat()).fine();
    assert_eq!(text.lines().count(), 1, "one record");
    serde_json::from_str(&text).expect("a record")
}

fn without_timing(mut report: Value) -> Value {
    let timing = report["timing"].take();
    for key in ["compile_s", "replay_s", "check_s"] {
        assert!(timing[key].as_f64().is_some_and(|s| s >= 0.0), "{timing}");
    }
    report
}

fn sum(value: &Value) -> u64 {
    value
        .as_object()
        .expect("an object")
        .values()
        .map(|n| n.as_u64().expect("a number"))
        .sum()
}

#[test]
fn the_numbers_add_up() {
    let report = replay(&place(), &[]);
    assert_eq!(report["schema"], "kpclass.replay/1");
    assert_eq!(
        (&report["frames"], &report["classified"]),
        (&462.into(), &457.into())
    );
    assert_eq!(report["skipped"], serde_json::json!({"arp": 5}));
    assert_eq!(sum(&report["dispositions"]), 457);
    assert_eq!(
        report["dispositions"],
        serde_json::json!({"forward": 400, "local": 0, "out": 0, "drop": 7, "reject": 50, "unknown": 0})
    );
    assert_eq!(report["masqueraded"], 100);
    assert_eq!(report["unmatched"], 7);
    assert_eq!(report["check"]["mode"], "full");
    assert_eq!(report["check"]["disagreements"], 0);
    assert!(report["check"]["checked"].as_u64().is_some_and(|n| n > 0));
}

#[test]
fn a_service_has_its_key_and_its_endpoints_with_their_chances() {
    let report = replay(&place(), &[]);
    let services = report["services"].as_array().expect("services");
    let web = services
        .iter()
        .find(|s| s["service"] == "ns/web:http")
        .expect("the Service");
    assert_eq!(
        (&web["key"], &web["packets"]),
        (&"tcp 10.2.0.1:80".into(), &400.into())
    );
    assert_eq!(
        (&web["bytes"], &web["masqueraded"]),
        (&(400 * 54).into(), &100.into())
    );
    let endpoints = web["endpoints"].as_array().expect("endpoints");
    let names: Vec<&Value> = endpoints.iter().map(|e| &e["endpoint"]).collect();
    assert_eq!(names, ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]);
    let packets = |e: &Value| e["packets"].as_u64().expect("a number");
    assert_eq!(endpoints.iter().map(packets).sum::<u64>(), 400);
    for endpoint in endpoints {
        let chance = endpoint["probability"].as_f64().expect("a number");
        assert!((chance - 1.0 / 3.0).abs() < 1e-6, "{endpoint}");
        assert!(
            (90..=180).contains(&packets(endpoint)),
            "{endpoint} is far from a third"
        );
    }
}

#[test]
fn the_keys_stand_in_the_contracts_order() {
    let place = place();
    let text = place
        .run(&["replay", "a.pcap", "--rules", "n.rules", "--json"])
        .fine();
    let mut rest = text.as_str();
    for key in [
        "schema",
        "frames",
        "classified",
        "skipped",
        "bytes",
        "dispositions",
        "forward",
        "masqueraded",
        "services",
        "service",
        "key",
        "packets",
        "bytes",
        "masqueraded",
        "endpoints",
        "endpoint",
        "packets",
        "probability",
        "unmatched",
        "check",
        "mode",
        "checked",
        "disagreements",
        "warnings",
        "timing",
        "compile_s",
        "replay_s",
        "check_s",
    ] {
        let at = rest
            .find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("{key} is missing or early in {text}"));
        rest = &rest[at + 1..];
    }
}

#[test]
fn only_the_timing_depends_on_the_threads() {
    let place = place();
    let one = without_timing(replay(&place, &["--threads", "1"]));
    for threads in ["2", "3", "8"] {
        assert_eq!(
            without_timing(replay(&place, &["--threads", threads])),
            one,
            "{threads} threads"
        );
    }
    let other = without_timing(replay(&place, &["--seed", "7"]));
    assert_ne!(
        other["services"], one["services"],
        "another seed draws other endpoints"
    );
    assert_eq!(other["dispositions"], one["dispositions"]);
}

#[test]
fn captures_come_from_gzip_zstd_and_stdin_alike() {
    use std::io::Write;
    let place = place();
    let plain = without_timing(replay(&place, &[]));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&traffic()).unwrap();
    place.file("a.pcap.gz", gzip.finish().unwrap());
    place.file(
        "a.pcap.zst",
        zstd::encode_all(traffic().as_slice(), 1).unwrap(),
    );
    for capture in ["a.pcap.gz", "a.pcap.zst", "-"] {
        let arguments = [
            "replay",
            capture,
            "--rules",
            "n.rules",
            "--local-addrs",
            "10.9.0.1",
            "--json",
        ];
        let text = place.run_with(&arguments, &traffic()).fine();
        assert_eq!(
            without_timing(serde_json::from_str(&text).unwrap()),
            plain,
            "{capture}"
        );
    }
}

#[test]
fn several_captures_add_up() {
    let place = place();
    place.file(
        "b.pcap",
        Frames::new().tcp(([10, 1, 1, 1], 9), SERVICE).pcap(),
    );
    let arguments = ["replay", "a.pcap", "b.pcap", "--rules", "n.rules", "--json"];
    let report: Value = serde_json::from_str(&place.run(&arguments).fine()).unwrap();
    assert_eq!(
        (&report["frames"], &report["dispositions"]["forward"]),
        (&463.into(), &401.into())
    );
}

#[test]
fn the_text_is_for_people() {
    let text = place()
        .run(&[
            "replay",
            "a.pcap",
            "--rules",
            "n.rules",
            "--local-addrs",
            "10.9.0.1",
        ])
        .fine();
    for part in [
        "a.pcap: 462 frames",
        "457 classified, 5 skipped",
        "in nat, filter; not in the dump, taken to accept: raw, mangle, security",
        "ns/web:http",
        "10.1.0.3:8080",
        "33.33 %",
        "no endpoints",
        "ns/empty:http",
        "arp",
        "against the reference: 0 disagreements",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn a_capture_that_is_cut_off_is_replayed_up_to_the_cut() {
    let place = place();
    let traffic = traffic();
    place.file("cut.pcap", &traffic[..traffic.len() - 10]);
    let run = place.run(&["replay", "cut.pcap", "--rules", "n.rules", "--json"]);
    assert!(
        run.stderr
            .contains("warning: cut.pcap: cut off in frame 462"),
        "{}",
        run.stderr
    );
    let report: Value = serde_json::from_str(&run.fine()).unwrap();
    assert_eq!(report["frames"], 461);
    let warnings = report["warnings"].as_array().expect("warnings");
    assert!(
        warnings
            .iter()
            .any(|w| w.as_str().is_some_and(|w| w.contains("frame 462"))),
        "{warnings:?}"
    );
}

#[test]
fn a_missing_fact_is_counted_with_the_option_that_would_tell() {
    let place = Place::new();
    place.file(
        "a.pcap",
        Frames::new().tcp(([10, 1, 1, 1], 1), SERVICE).pcap(),
    );
    place.file(
        "n.rules",
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth+ -j DROP\nCOMMIT\n",
    );
    let text = place
        .run(&["replay", "a.pcap", "--rules", "n.rules"])
        .fine();
    assert!(
        text.contains("the interface that the packet arrived on"),
        "{text}"
    );
    assert!(
        text.contains("filter FORWARD 1 (line 3)  --in-interface"),
        "{text}"
    );
    let told = place
        .run(&[
            "replay",
            "a.pcap",
            "--rules",
            "n.rules",
            "--in-interface",
            "eth0",
        ])
        .fine();
    assert!(
        told.contains("dropped") && !told.contains("Unknown"),
        "{told}"
    );
}

#[test]
fn a_packet_of_a_family_without_rules_is_skipped() {
    let place = Place::new();
    place.file(
        "a.pcap",
        Frames::new().tcp(([10, 1, 1, 1], 1), SERVICE).pcap(),
    );
    place.file(
        "n.rules",
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s fd00::1/128 -j DROP\nCOMMIT\n",
    );
    let text = place
        .run(&["replay", "a.pcap", "--rules", "n.rules", "--json"])
        .fine();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["skipped"], serde_json::json!({"no-ipv4-rules": 1}));
}

#[test]
fn checks_are_full_sampled_or_off() {
    let place = place();
    let full = replay(&place, &["--mode", "packet"])["check"]["checked"].as_u64();
    let off = replay(&place, &["--check", "off"]);
    assert_eq!(
        (&off["check"]["mode"], &off["check"]["checked"]),
        (&"off".into(), &0.into())
    );
    let sample = replay(&place, &["--check", "sample:4", "--mode", "packet"]);
    assert_eq!(sample["check"]["mode"], "sample:4");
    assert!(sample["check"]["checked"].as_u64() < full);
}

#[test]
fn verdicts_have_a_line_a_frame_in_their_order() {
    let place = place();
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    replay(&place, &["--verdicts", "v.ndjson"]);
    let rows: Vec<Value> = read("v.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 462);
    assert!(rows.iter().zip(1u64..).all(|(row, n)| row["frame"] == n));
    assert_eq!(rows[0]["schema"], "kpclass.verdict/1");
    assert_eq!(
        (&rows[0]["disposition"], &rows[0]["service"]),
        (&"forward".into(), &"ns/web:http".into())
    );
    assert_eq!(
        (&rows[400]["disposition"], &rows[400]["reject_with"]),
        (&"reject".into(), &"icmp-port-unreachable".into())
    );
    assert_eq!(
        (&rows[461]["skipped"], &rows[461]["disposition"]),
        (&"arp".into(), &Value::Null)
    );
    replay(&place, &["--verdicts", "v.parquet"]);
    let parquet = std::fs::read(place.path().join("v.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    replay(&place, &["--verdicts", "v.csv", "--threads", "3"]);
    let csv = read("v.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 463);
    assert!(lines[0].starts_with("capture,frame,timestamp_ns,skipped,hook,protocol,source,"));
    let columns = |line: &str| line.split(',').count();
    assert!(lines.iter().all(|line| columns(line) == columns(lines[0])));
    let endpoints = rows
        .iter()
        .map(|row| row["dnat"].as_str().unwrap_or_default().to_owned());
    assert!(
        endpoints.eq(lines[1..]
            .iter()
            .map(|line| line.split(',').nth(11).unwrap().to_owned()))
    );
}

#[test]
fn a_verdict_is_what_explain_says_of_the_frame() {
    let place = place();
    replay(&place, &["--verdicts", "v.ndjson"]);
    let text = std::fs::read_to_string(place.path().join("v.ndjson")).unwrap();
    for line in text.lines().step_by(97) {
        let row: Value = serde_json::from_str(line).unwrap();
        let frame = format!("a.pcap:{}", row["frame"]);
        let arguments = [
            "explain",
            "--json",
            "--rules",
            "n.rules",
            "--local-addrs",
            "10.9.0.1",
            "--frame",
            &frame,
        ];
        let answer: Value = serde_json::from_str(&place.run(&arguments).fine()).unwrap();
        let possible = answer["outcomes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|outcome| {
                let to = match &outcome["dnat"] {
                    Value::Null => Value::Null,
                    to => format!("{}:{}", to["address"].as_str().unwrap(), to["port"]).into(),
                };
                (&outcome["disposition"], &to) == (&row["disposition"], &row["dnat"])
            });
        assert!(possible, "{row}\n{answer}");
    }
}

#[test]
fn verdicts_that_cannot_be_written_are_trouble() {
    let place = place();
    let arguments = ["replay", "a.pcap", "--rules", "n.rules", "--verdicts"];
    let said = place
        .run(&[&arguments[..], &["absent/v.csv"]].concat())
        .trouble();
    assert!(
        said.contains("absent/v.csv: no such file or directory"),
        "{said}"
    );
    std::os::unix::fs::symlink("/dev/full", place.path().join("full.csv")).unwrap();
    let said = place
        .run(&[&arguments[..], &["full.csv"]].concat())
        .trouble();
    assert!(said.contains("full.csv: no space left on device"), "{said}");
}

#[test]
fn what_cannot_be_replayed_is_trouble() {
    let place = place();
    for (capture, says) in [
        ("absent.pcap", "absent.pcap: no such file"),
        ("n.rules", "n.rules: is no capture"),
        (".", ".: is a directory"),
    ] {
        let said = place
            .run(&["replay", capture, "--rules", "n.rules"])
            .trouble();
        assert!(said.contains(says), "{said}");
    }
    let said = place.run(&["replay", "-", "--rules", "-"]).trouble();
    assert!(said.contains("given twice"), "{said}");
}

#[test]
fn many_warnings_are_cut_short() {
    let place = Place::new();
    place.file(
        "a.pcap",
        Frames::new().tcp(([10, 1, 1, 1], 1), SERVICE).pcap(),
    );
    let missing: String = (0..30)
        .map(|i| format!("-A FORWARD -j gone-{i}\n"))
        .collect();
    place.file(
        "n.rules",
        format!("*filter\n:FORWARD ACCEPT [0:0]\n{missing}COMMIT\n"),
    );
    let arguments = [
        "replay",
        "a.pcap",
        "--rules",
        "n.rules",
        "--local-addrs",
        "10.9.0.1",
    ];
    let run = place.run(&arguments);
    let printed = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("kpclass: warning: "))
        .count();
    assert!(printed <= 21, "{}", run.stderr);
    run.fine();
}

#[test]
fn what_routing_assumes_is_named_once() {
    let place = place();
    let assumed = "without --local-addrs, routing takes no address but loopback as this node's";
    let run = place.run(&["replay", "a.pcap", "--rules", "n.rules"]);
    assert_eq!(run.stderr, format!("kpclass: warning: {assumed}\n"));
    let run = place.run(&[
        "replay",
        "a.pcap",
        "--rules",
        "n.rules",
        "--local-addrs",
        "10.9.0.1",
    ]);
    assert_eq!(run.stderr, "");
}
