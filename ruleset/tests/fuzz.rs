//! What fuzzing has kept, replayed without a fuzzer: the corpus and every regression of the targets that read text. What each is held to stands in
//! `fuzz/src/`.
#![allow(
    unreachable_pub,
    reason = "the files of the fuzz targets are a crate's there"
)]

#[path = "../../fuzz/src/choices.rs"]
mod choices;
#[path = "../../fuzz/src/dump_text.rs"]
mod dump_text;
#[path = "../../fuzz/src/equal.rs"]
mod equal;
#[path = "../../fuzz/src/listing_text.rs"]
mod listing_text;
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/rule_lines.rs"]
mod rule_lines;
#[path = "../../fuzz/src/rule_matches.rs"]
mod rule_matches;
#[path = "../../fuzz/src/rule_targets.rs"]
mod rule_targets;
#[path = "../../fuzz/src/save_round_trip.rs"]
mod save_round_trip;
#[path = "../../fuzz/src/spec_text.rs"]
mod spec_text;

use replay::replay;

#[test]
fn dumps() {
    replay("dump_text", dump_text::check);
}

#[test]
fn listings() {
    replay("listing_text", listing_text::check);
}

#[test]
fn rules_that_were_grown() {
    replay("save_round_trip", save_round_trip::check);
}

#[test]
fn specs_addresses_and_sets() {
    replay("spec_text", spec_text::check);
}
