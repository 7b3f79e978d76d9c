//! `replay --mode conntrack`: whole connections, as a capture shows them from where it was taken.

use crate::packets::RULES;
use crate::program::Place;
use serde_json::Value;

/// Frames of each capture.
const FRAMES: u64 = 6_000;

/// A capture of connections to the Services of [`RULES`], and what a replay says of it.
fn replay(vantage: &str, seed: &str) -> (Value, String, Vec<u8>) {
    let place = Place::new();
    place.file("n.rules", RULES);
    let frames = FRAMES.to_string();
    let generate = [
        "generate",
        "capture",
        "--rules",
        "n.rules",
        "--local-addrs",
        "10.9.0.1",
        "--hit",
        "1",
        "--connections",
        "40",
        "--vantage",
        vantage,
        "--frames",
        &frames,
        "--seed",
        seed,
        "-o",
        "c.pcap",
    ];
    place.run(&generate).fine();
    let replay = [
        "replay",
        "c.pcap",
        "--rules",
        "n.rules",
        "--local-addrs",
        "10.9.0.1",
        "--mode",
        "conntrack",
        "--json",
        "--verdicts",
        "v.csv",
    ];
    let report = serde_json::from_str(&place.run(&replay).fine()).expect("JSON");
    let verdicts = std::fs::read_to_string(place.path().join("v.csv")).expect("verdicts");
    let capture = std::fs::read(place.path().join("c.pcap")).expect("the capture");
    (report, verdicts, capture)
}

fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// What must hold wherever the capture was taken.
fn is_sound(report: &Value) {
    let skipped = report["skipped"].as_object().expect("reasons");
    let skipped: u64 = skipped.values().filter_map(Value::as_u64).sum();
    let classified = number(report, "/classified");
    assert_eq!(classified + skipped, number(report, "/frames"), "{report}");
    assert_eq!(number(report, "/check/disagreements"), 0, "{report}");
    assert_eq!(
        number(report, "/check/checked"),
        classified,
        "each packet is checked"
    );
    assert_eq!(number(report, "/dispositions/unknown"), 0, "{report}");
    assert_eq!(number(report, "/dispositions/drop"), 0, "{report}");
    assert_eq!(
        number(report, "/connections/packets/invalid"),
        0,
        "{report}"
    );
    let states = report["connections"]["packets"]
        .as_object()
        .expect("states");
    let states: u64 = states.values().filter_map(Value::as_u64).sum();
    assert_eq!(states, classified, "{report}");
    assert!(number(report, "/connections/begun") > 100, "{report}");
    let services = report["services"].as_array().expect("services");
    let packets: u64 = services.iter().map(|s| number(s, "/packets")).sum();
    assert_eq!(
        packets + number(report, "/unmatched"),
        classified,
        "{report}"
    );
    let endpoints = services
        .iter()
        .flat_map(|s| s["endpoints"].as_array().cloned());
    let to_endpoints: u64 = endpoints.flatten().map(|e| number(&e, "/packets")).sum();
    let refused = number(report, "/dispositions/reject");
    assert_eq!(to_endpoints + refused, packets, "{report}");
    assert_eq!(number(report, "/unmatched"), 0, "{report}");
}

#[test]
fn before_nat_each_endpoint_is_recovered_from_its_answers() {
    let (report, ..) = replay("arriving", "1");
    is_sound(&report);
    let (begun, shown) = (
        number(&report, "/connections/begun"),
        number(&report, "/connections/shown"),
    );
    assert_eq!(begun, shown, "{report}");
    assert_eq!(number(&report, "/classified"), number(&report, "/frames"));
}

#[test]
fn on_both_sides_of_nat_each_packet_is_counted_once() {
    let (report, verdicts, capture) = replay("both", "2");
    is_sound(&report);
    let behind = number(&report, "/skipped/behind-nat");
    let refused = number(&report, "/dispositions/reject");
    assert_eq!(behind * 2 + refused, number(&report, "/frames"), "{report}");
    assert_eq!(
        number(&report, "/connections/begun"),
        number(&report, "/connections/shown")
    );
    // The frame right behind a first packet shows where it went.
    let mut compared = 0;
    for row in verdicts.lines().skip(1) {
        let cell: Vec<&str> = row.split(',').collect();
        let (frame, dnat) = (cell[1].parse::<usize>().expect("a number"), cell[11]);
        if !dnat.is_empty() {
            assert_eq!(dnat, destination(&capture, frame + 1), "{row}");
            compared += 1;
        }
    }
    assert!(compared > 1_000, "{compared}");
}

/// The destination of a frame of a classic pcap, all of whose frames have 60 bytes of Ethernet and IPv4.
fn destination(capture: &[u8], frame: usize) -> String {
    let bytes = &capture[24 + (frame - 1) * 76 + 16..];
    let port = u16::from_be_bytes([bytes[36], bytes[37]]);
    let [a, b, c, d] = [30, 31, 32, 33].map(|at| bytes[at]);
    format!("{a}.{b}.{c}.{d}:{port}")
}

#[test]
fn what_clients_see_tells_whose_replies_they_are() {
    let (report, ..) = replay("client", "3");
    is_sound(&report);
    assert!(number(&report, "/connections/replied") > 100, "{report}");
    assert_eq!(number(&report, "/connections/shown"), 0, "{report}");
}

#[test]
fn established_connections_are_translated_without_asking_nat_again() {
    let (_, verdicts, _) = replay("arriving", "4");
    let mut endpoints = std::collections::HashMap::new();
    for line in verdicts.lines().skip(1) {
        let cell: Vec<&str> = line.split(',').collect();
        let (client, service, dnat) = ((cell[6], cell[7]), (cell[8], cell[9]), cell[11]);
        if service == ("10.2.0.1", "80") {
            let first = *endpoints.entry(client).or_insert(dnat);
            assert_eq!(first, dnat, "{line}");
            assert!(dnat.starts_with("10.1.0."), "{line}");
        }
    }
    assert!(endpoints.len() > 100, "{} clients", endpoints.len());
}

/// The kernel evicts what it will: with any number of threads nothing is said of that, and all of the rest.
#[test]
fn of_a_full_table_as_much_is_known_on_any_number_of_threads() {
    let place = Place::new();
    place.file("n.rules", RULES);
    let generate = "generate capture --rules n.rules --local-addrs 10.9.0.1 --hit 1 --connections 40 --frames 4000 -o c.pcap";
    place.run(&words(generate)).fine();
    let reports = ["1", "2", "16"].map(|threads| {
        let replay = "replay c.pcap --rules n.rules --local-addrs 10.9.0.1 --mode conntrack --json --max-connections 30 --threads";
        let mut replay = words(replay);
        replay.push(threads);
        let mut report: Value = serde_json::from_str(&place.run(&replay).fine()).expect("JSON");
        report["timing"] = Value::Null;
        report
    });
    assert!(reports.iter().all(|report| *report == reports[0]));
    let [report, ..] = &reports;
    assert_eq!(number(report, "/check/disagreements"), 0, "{report}");
    let full = |key: &str| number(report, &format!("/connections/table_full/{key}"));
    assert!(
        full("packets") > 0 && full("may_be_evicted") > 0,
        "{report}"
    );
    assert!(
        full("packets") == number(report, "/dispositions/unknown"),
        "{report}"
    );
    assert!(number(report, "/dispositions/forward") > 0, "{report}");
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}
