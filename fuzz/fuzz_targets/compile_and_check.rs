//! What the input is held to stands in [`kpclass_fuzz::compile_and_check`].
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kpclass_fuzz::compile_and_check::check(bytes));
