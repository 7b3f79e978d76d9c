//! The number that a packet draws: a keyed hash of its tuple, so that a replay is the same again, whatever the number
//! of threads.

use kpclass_compiler::header::Header;
use kpclass_compiler::program::lookup::{Address, Tuple};
use kpclass_ruleset::value::Family;

/// The number of a packet with these addresses, protocol and ports.
#[inline]
pub fn number(header: &Header, seed: u64) -> u64 {
    match header.family() {
        Family::V4 => u32::draw(&Tuple::of_fields(header), seed),
        Family::V6 => u128::draw(&Tuple::of_fields(header), seed),
    }
}
