//! What the input is held to stands in [`kpclass_fuzz::capture_bytes`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kpclass_fuzz::capture_bytes::check(bytes));
