//! What fuzzing has kept, replayed without a fuzzer: the corpus and every regression of the targets that take captures, frames, and rules with
//! packets. What each is held to stands in `fuzz/src/`.
#![allow(
    unreachable_pub,
    reason = "the files of the fuzz targets are a crate's there"
)]

#[path = "../../fuzz/src/capture_bytes.rs"]
mod capture_bytes;
#[path = "../../fuzz/src/choices.rs"]
mod choices;
#[path = "../../fuzz/src/compile_and_check.rs"]
mod compile_and_check;
#[path = "../../fuzz/src/node_facts.rs"]
mod node_facts;
#[path = "../../fuzz/src/packet_bytes.rs"]
mod packet_bytes;
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/rule_lines.rs"]
mod rule_lines;
#[path = "../../fuzz/src/rule_matches.rs"]
mod rule_matches;
#[path = "../../fuzz/src/rule_targets.rs"]
mod rule_targets;

use replay::replay;

#[test]
fn captures() {
    replay("capture_bytes", capture_bytes::check);
}

#[test]
fn frames() {
    replay("packet_bytes", packet_bytes::check);
}

#[test]
fn rules_and_packets_that_were_grown() {
    replay("compile_and_check", compile_and_check::check);
}
