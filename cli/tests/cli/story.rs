//! `explain --frame CAPTURE:N --mode conntrack`: a frame with its connection's story.

use crate::packets::RULES;
use crate::program::{Place, Run};
use serde_json::Value;

/// A capture of connections to the Services of [`RULES`], before nat and behind it.
fn place() -> Place {
    let place = Place::new();
    place.file("n.rules", RULES);
    let arguments = "generate capture --rules n.rules --local-addrs 10.9.0.1 --hit 1 --connections 8 \
                     --vantage both --frames 600 --seed 1 -o c.pcap";
    place
        .run(&arguments.split_whitespace().collect::<Vec<_>>())
        .fine();
    place
}

fn explain(place: &Place, frame: u64, more: &[&str]) -> Run {
    let frame = format!("c.pcap:{frame}");
    let rules = ["explain", "--rules", "n.rules", "--local-addrs", "10.9.0.1"];
    let asked = ["--mode", "conntrack", "--frame", &frame];
    place.run(&[&rules[..], &asked, more].concat())
}

fn record(place: &Place, frame: u64) -> Value {
    let text = explain(place, frame, &["--json"]).fine();
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_first_packet_has_all_ways_and_the_story_says_which_was_taken() {
    let record = record(&place(), 1);
    assert_eq!(record["program_agrees"], true);
    assert_eq!(
        record["outcomes"].as_array().map(Vec::len),
        Some(3),
        "{record}"
    );
    let story = &record["connection"];
    let frames = story["frames"].as_array().expect("frames");
    assert_eq!(frames.len(), 1, "{story}");
    assert_eq!(
        (&frames[0]["ctstate"], &frames[0]["flags"]),
        (&"NEW".into(), &"S".into())
    );
    let reply = story["reply"].as_str().expect("a reply tuple");
    let nat = frames[0]["nat"].as_str().expect("nat");
    let (_, endpoint) = nat.rsplit_once("to ").expect("a destination");
    assert!(reply.contains(endpoint), "{story}");
    // Which source it got is shown by the frame behind nat.
    if let Some((source, _)) = nat
        .strip_prefix("from ")
        .and_then(|rest| rest.split_once(','))
    {
        assert!(reply.ends_with(source), "{story}");
    }
}

#[test]
fn every_frame_has_its_connection_up_to_itself() {
    let place = place();
    let (mut told, mut behind) = (0, 0);
    for frame in (1..600).step_by(7) {
        let run = explain(&place, frame, &["--json"]);
        if run.status == Some(2) {
            assert!(
                run.stderr.contains("shows a packet again, behind nat"),
                "{}",
                run.stderr
            );
            behind += 1;
            continue;
        }
        let record: Value = serde_json::from_str(&run.fine()).expect("JSON");
        let frames = record["connection"]["frames"].as_array().expect("frames");
        let numbers: Vec<u64> = frames.iter().filter_map(|f| f["frame"].as_u64()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&frame));
        assert_eq!(record["program_agrees"], true, "{record}");
        let last = &frames[frames.len() - 1];
        let is_later = last["ctstate"] == "ESTABLISHED";
        if is_later {
            let of_it = ["original", "reply", "behind-nat"];
            assert!(
                frames
                    .iter()
                    .all(|f| of_it.contains(&f["direction"].as_str().unwrap()))
            );
            assert_eq!(frames[0]["ctstate"], "NEW", "{record}");
            assert_eq!(record["outcomes"].as_array().map(Vec::len), Some(1));
            told += 1;
        }
    }
    assert!(told > 10 && behind > 10, "{told} and {behind}");
}

#[test]
fn a_story_needs_a_frame_that_is_there() {
    let place = place();
    let said = explain(&place, 100_000, &[]).trouble();
    assert!(said.contains("needs frame 100000, holds 6"), "{said}");
    let arguments = [
        "explain",
        "--rules",
        "n.rules",
        "--mode",
        "conntrack",
        "--packet",
        "tcp 1.1.1.1:1 > 2.2.2.2:2",
    ];
    let said = place.run(&arguments).trouble();
    assert!(said.contains("--frame CAPTURE:N"), "{said}");
    place.file("c.pcap", [0; 3]);
    explain(&place, 1, &[]).trouble();
}

#[test]
fn a_capture_on_standard_input_is_read_once() {
    let place = place();
    let frame = (100..150).find(|frame| explain(&place, *frame, &[]).status == Some(0));
    let frame = frame.expect("a frame before nat");
    let capture = std::fs::read(place.path().join("c.pcap")).expect("the capture");
    let piped = format!("--frame=-:{frame}");
    let rules = ["explain", "--rules", "n.rules", "--local-addrs", "10.9.0.1"];
    let asked = ["--mode", "conntrack", &piped];
    let text = place
        .run_with(&[&rules[..], &asked].concat(), &capture)
        .fine();
    assert_eq!(text, explain(&place, frame, &[]).fine());
}

#[test]
fn the_text_is_a_line_a_frame() {
    let place = place();
    let second = (2..20).find(|frame| explain(&place, *frame, &[]).status == Some(0));
    let text = explain(&place, second.expect("a frame before nat"), &[]).fine();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].starts_with("connection tcp "), "{text}");
    assert!(lines[3].trim_start().starts_with("FRAME"), "{text}");
    assert!(lines[4].contains("  NEW"), "{text}");
}
