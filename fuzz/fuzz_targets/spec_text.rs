//! What the input is held to stands in [`kpclass_fuzz::spec_text`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kpclass_fuzz::spec_text::check(bytes));
