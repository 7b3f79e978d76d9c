//! Fragments where connections are followed: which frame carries the verdict, and what is said of the others.

use crate::frames::Frames;
use crate::packets::RULES;
use crate::program::{Place, Run};
use kpclass_workload::frame::{Link, Piece};
use serde_json::Value;

/// A SYN to the Service in pieces: 8 bytes, a lone one, the rest of the first, a repetition of that, and one that overlaps.
fn place() -> Place {
    let (client, service) = (([192, 168, 7, 9], 40_000), ([10, 2, 0, 1], 80));
    let syn = Frames::new().tcp(client, service).pcap();
    // Behind the header of the file, and of the frame.
    let syn = &syn[24 + 16..];
    let piece = |id, from, to, more| {
        let ecn = 0;
        let piece = Piece {
            id,
            from,
            to,
            more,
            ecn,
        };
        piece.cut(Link::Ethernet, syn)
    };
    let frames = Frames::new()
        .frame(&piece(1, 0, 8, true))
        .frame(&piece(2, 0, 8, true))
        .frame(&piece(1, 8, 20, false))
        .frame(&piece(2, 0, 8, true))
        .frame(&piece(2, 0, 16, true))
        .frame(&piece(3, 0, 8, true))
        .arp();
    let place = Place::new();
    place.file("n.rules", RULES);
    place.file("c.pcap", frames.pcap());
    place
}

fn explain(place: &Place, frame: u64, more: &[&str]) -> Run {
    let frame = format!("c.pcap:{frame}");
    let asked = ["--mode", "conntrack", "--frame", &frame];
    let rules = ["explain", "--rules", "n.rules", "--local-addrs", "10.9.0.1"];
    place.run(&[&rules[..], &asked, more].concat())
}

#[test]
fn each_frame_is_counted_once_and_the_last_one_carries_the_verdict() {
    let place = place();
    let replay = [
        "replay",
        "c.pcap",
        "--rules",
        "n.rules",
        "--mode",
        "conntrack",
    ];
    let more = ["--local-addrs", "10.9.0.1", "--json", "--verdicts", "v.csv"];
    let report = place.run(&[&replay[..], &more].concat()).fine();
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let skipped = serde_json::json!({
        "arp": 1, "fragment-held": 1, "fragment-joined": 1, "fragment-overlap": 2, "fragment-repeated": 1
    });
    assert_eq!(report["skipped"], skipped);
    assert_eq!(
        (&report["frames"], &report["classified"]),
        (&7.into(), &1.into())
    );
    let service = &report["services"][0];
    assert_eq!(service["packets"], 1, "{service}");
    // Both frames of it, of 14 + 20 bytes of headers each.
    assert_eq!(service["bytes"], 14 + 20 + 8 + 14 + 20 + 12, "{service}");
    let verdicts = std::fs::read_to_string(place.path().join("v.csv")).expect("verdicts");
    let held = verdicts
        .lines()
        .filter(|line| line.contains("fragment-held"));
    assert_eq!(held.count(), 3, "{verdicts}");
}

#[test]
fn a_fragment_is_explained_by_what_became_of_it() {
    let place = place();
    let told = [
        (1, "held until frame 3, which completes its datagram"),
        (2, "frame 5 overlaps it"),
        (4, "it is dropped alone"),
        (5, "all of them are dropped"),
        (6, "the capture ends before the rest"),
    ];
    for (frame, why) in told {
        let error = explain(&place, frame, &[]).trouble();
        assert!(
            error.contains("meets no rule") && error.contains(why),
            "{error}"
        );
    }
    let record = explain(&place, 3, &["--json"]).fine();
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["connection"]["fragments"], serde_json::json!([1]));
    assert_eq!(record["program_agrees"], true);
    let text = explain(&place, 3, &[]).fine();
    assert!(text.contains("those before it: frame 1\n"), "{text}");
}
