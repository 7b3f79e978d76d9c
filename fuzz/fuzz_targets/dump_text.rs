//! What the input is held to stands in [`kpclass_fuzz::dump_text`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kpclass_fuzz::dump_text::check(bytes));
