//! What each fuzz target holds its input to, one module a target.
//!
//! The tests of `ruleset/` and `engine/` include these modules by path and replay the kept corpus and every regression through them, so that
//! they count without a fuzzer. A module therefore names nothing but its siblings and the crates' public words.
#![forbid(unsafe_code)]

pub mod capture_bytes;
pub mod choices;
pub mod compile_and_check;
pub mod dump_text;
pub mod equal;
pub mod listing_text;
pub mod node_facts;
pub mod packet_bytes;
pub mod replay;
pub mod rule_lines;
pub mod rule_matches;
pub mod rule_targets;
pub mod save_round_trip;
pub mod spec_text;
