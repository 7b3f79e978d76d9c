//! What the input is held to stands in [`kpclass_fuzz::save_round_trip`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kpclass_fuzz::save_round_trip::check(bytes));
