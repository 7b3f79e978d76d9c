//! The number that a packet draws: a keyed hash of its tuple, so that a replay is the same again, whatever the number
//! of threads.

use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::lookup::{Address, Tuple};

/// The number of a packet with these addresses, protocol and ports.
#[inline]
pub fn number(header: &Header, seed: u64) -> u64 {
    if header.known & known::V6 == 0 {
        u32::draw(&Tuple::of_fields(header), seed)
    } else {
        u128::draw(&Tuple::of_fields(header), seed)
    }
}
